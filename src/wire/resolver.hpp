#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "wire/socket.hpp"

namespace warren::inline v0::wire {

/// Resolves a host; the addresses are in the resolver's order.
///
/// Blocks until the deadline at most. The system's resolver has no deadline, so it runs on a thread of its
/// own, which is abandoned at the deadline.
/// @throws ConnectionError  there is no address, or no answer in time; always transient
/// @throws GivenUp  `wait` gave up
[[nodiscard]] std::vector<Address> resolve(const std::string& host, std::uint16_t port,
                                           std::chrono::steady_clock::time_point deadline, const Wait& wait,
                                           const std::string& operation);

}  // namespace warren::inline v0::wire
