#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace warren::inline v0::wire {

/// The addresses of a host, as numeric text, in the resolver's order.
///
/// Blocks until the deadline at most: the system's resolver has none of its own, so that it is asked on a
/// thread that is left alone where it takes longer.
/// @throws ConnectionError  no address, or not in time
[[nodiscard]] std::vector<std::string> resolve(const std::string& host, std::uint16_t port,
                                               std::chrono::steady_clock::time_point deadline,
                                               const std::string& operation);

}  // namespace warren::inline v0::wire
