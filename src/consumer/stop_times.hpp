#pragma once

#include <algorithm>
#include <chrono>

#include <warren/consumer_options.hpp>

#include "engine/deadline.hpp"

namespace warren::inline v0::consumer {

/// The bound for all of a stop: `stop_within`, or what it is by default.
[[nodiscard]] inline std::chrono::milliseconds stop_within(const ConsumerOptions& options) noexcept {
  constexpr std::chrono::milliseconds margin{4'000};  // beyond drain_timeout
  if (options.stop_within) return *options.stop_within;
  return std::min(options.drain_timeout, std::chrono::milliseconds::max() - margin) + margin;
}

/// For the answers to cancelling and closing, once the time for handlers is over.
[[nodiscard]] inline std::chrono::milliseconds closing_time(const ConsumerOptions& options) noexcept {
  constexpr std::chrono::milliseconds longest{2'000};
  return std::min(stop_within(options) / 5, longest);
}

/// When a stop gives up what.
struct StopTimes {
  std::chrono::steady_clock::time_point settle_by{};  ///< handlers, and deliveries to be settled
  std::chrono::steady_clock::time_point close_by{};   ///< the broker's answers
  std::chrono::steady_clock::time_point leave_by{};   ///< everything
};

/// @param from  when the stop was asked for
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
