#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "wire/socket.hpp"

namespace warren::inline v0::wire {

/// The addresses of a host, in the resolver's order.
///
/// Blocks until the deadline at most: the system's resolver has none of its own, so that it is asked on a
/// thread that is left alone if it takes longer.
/// @throws ConnectionError  no address, or not in time; never permanent
/// @throws GivenUp
[[nodiscard]] std::vector<Address> resolve(const std::string& host, std::uint16_t port,
                                           std::chrono::steady_clock::time_point deadline, const Wait& wait,
                                           const std::string& operation);

}  // namespace warren::inline v0::wire
