#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/version.hpp>

namespace warren::inline v0 {

/// How often a policy tries a message, and where it parks a message after the last attempt.
struct RetryOptions {
  /// The most handler runs of a message on the consumer's queue, including the first one; at least 1. If the
  /// last one fails, the message is parked.
  std::uint32_t max_attempts = 5;
  /// How often the handler runs again in place before each copy is sent. Each run counts as an attempt. It
  /// applies to RetryPolicy::to_queue and the delayed policies. RetryPolicy::immediate ignores it.
  std::uint32_t runs_in_place = 0;
  /// The queue for messages that can't be handled. Several policies may share one. Empty means
  /// `<queue>_parked`.
  std::string parked_queue{};
  /// A direct exchange for the copies, to which each queue is bound by its own name. Empty means the default
  /// exchange.
  std::string exchange{};
  /// The name in the header `retry-policy`. Empty means the text of to_string().
  std::string name{};
  /// A message is parked, with reason `deadline`, if its next attempt would begin later than this time after
  /// its first failure.
  std::optional<std::chrono::milliseconds> deadline{};
  std::optional<std::chrono::milliseconds> max_delay{};  ///< no delay is longer than this
  /// Shortens each delay at random, so that messages that failed together are not retried together. A delay
  /// is between (1 - jitter) times its length and its whole length. From 0 to below 1.
  double jitter = 0;

  friend bool operator==(const RetryOptions&, const RetryOptions&) = default;
};

/// How the delays of RetryPolicy::exponential grow.
struct ExponentialOptions {
  std::chrono::milliseconds initial{1'000};  ///< the first delay
  std::chrono::milliseconds max{60'000};     ///< the longest delay; `retry.max_delay` may shorten it further
  double multiplier = 2;                     ///< each delay is this many times the one before; at least 1
  RetryOptions retry{};                      ///< all other options of the policy

  friend bool operator==(const ExponentialOptions&, const ExponentialOptions&) = default;
};

}  // namespace warren::inline v0
