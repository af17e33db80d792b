#pragma once

#include <algorithm>
#include <chrono>

#include <warren/consumer_options.hpp>

#include "engine/deadline.hpp"

namespace warren::inline v0::consumer {

/// The longest time that a whole stop takes: `stop_within`, by default 4 s more than `drain_timeout`.
[[nodiscard]] inline std::chrono::milliseconds stop_within(const ConsumerOptions& options) noexcept {
  constexpr std::chrono::milliseconds margin{4'000};  // beyond drain_timeout
  if (options.stop_within) return *options.stop_within;
  return std::min(options.drain_timeout, std::chrono::milliseconds::max() - margin) + margin;
}

/// The time that is kept for the broker's answers to cancelling and closing, after the time for handlers.
[[nodiscard]] inline std::chrono::milliseconds closing_time(const ConsumerOptions& options) noexcept {
  constexpr std::chrono::milliseconds longest{2'000};
  return std::min(stop_within(options) / 5, longest);
}

/// The deadlines of a stop.
struct StopTimes {
  std::chrono::steady_clock::time_point settle_by{};  ///< for running handlers and unsettled deliveries
  std::chrono::steady_clock::time_point close_by{};   ///< for the broker's answers
  std::chrono::steady_clock::time_point leave_by{};   ///< for the whole stop
};

/// Computes the deadlines of a stop.
/// @param from  when the stop was requested
[[nodiscard]] inline StopTimes stop_times(const ConsumerOptions& options,
                                          std::chrono::steady_clock::time_point from) noexcept {
  const auto closing = closing_time(options);
  const auto leave_by = engine::deadline_after(stop_within(options), from);
  const auto drained_by = engine::deadline_after(options.drain_timeout, from);
  return {.settle_by = std::min(drained_by, leave_by - closing),
          .close_by = leave_by - closing / 2,
          .leave_by = leave_by};
}

}  // namespace warren::inline v0::consumer
