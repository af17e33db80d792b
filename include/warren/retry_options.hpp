#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/version.hpp>

namespace warren::inline v0 {

/// How often a policy tries a message, and where a message that it gives up rests.
struct RetryOptions {
  /// Handler runs on the consumer's queue, the first one included; at least 1. If the last one fails, the
  /// message is parked.
  std::uint32_t max_attempts = 5;
  /// For RetryPolicy::to_queue and the delayed policies: how often the handler runs again in place before
  /// each copy is sent. Each run counts as an attempt. RetryPolicy::immediate ignores it.
  std::uint32_t runs_in_place = 0;
  /// The queue for messages that can't be handled; several policies may share one. Empty: `<queue>_parked`.
  std::string parked_queue{};
  /// A direct exchange for the copies, to which each queue is bound by its own name. Empty: the default
  /// exchange.
  std::string exchange{};
  /// Goes into the header `retry-policy`. Empty: the text of to_string().
  std::string name{};
  /// A message is parked, with reason `deadline`, if its next attempt would begin later than this after its
  /// first failure.
  std::optional<std::chrono::milliseconds> deadline{};
  std::optional<std::chrono::milliseconds> max_delay{};  ///< no delay is longer than this
  /// From 0 to below 1: each delay is between (1 - jitter) of its length and all of it, at random.
  double jitter = 0;

  friend bool operator==(const RetryOptions&, const RetryOptions&) = default;
};

/// How the delays of RetryPolicy::exponential grow.
struct ExponentialOptions {
  std::chrono::milliseconds initial{1'000};  ///< the first delay
  std::chrono::milliseconds max{60'000};     ///< no delay is longer than this, nor than `retry.max_delay`
  double multiplier = 2;                     ///< each delay is this many times the one before; at least 1
  RetryOptions retry{};                      ///< everything else, as for the other policies

  friend bool operator==(const ExponentialOptions&, const ExponentialOptions&) = default;
};

}  // namespace warren::inline v0
