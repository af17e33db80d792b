#pragma once

#include <algorithm>
#include <chrono>

namespace warren::inline v0::engine {

/// `timeout` after `now`, or the largest time point if the clock cannot represent that.
[[nodiscard]] inline std::chrono::steady_clock::time_point deadline_after(
    std::chrono::milliseconds timeout,
    std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) noexcept {
  using namespace std::chrono;
  constexpr auto end = steady_clock::time_point::max();
  return timeout < duration_cast<milliseconds>(end - now) ? now + std::max(timeout, milliseconds(0)) : end;
}

}  // namespace warren::inline v0::engine
