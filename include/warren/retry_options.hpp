#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/version.hpp>

namespace warren::inline v0 {

/// How often a policy tries, and where what it gives up on rests.
struct RetryOptions {
  /// Handler runs on the consumer's queue, the first one included; at least 1. Past it a message is parked.
  std::uint32_t max_attempts = 5;
  /// Further runs in place ahead of each copy, of to_queue() and the delayed ones; each counts as an attempt.
  std::uint32_t immediate = 0;
  /// The queue for what can't be handled; several policies may share one. Empty: `<queue>_parked`.
  std::string parked_queue{};
  /// A direct exchange for the copies, to which each queue is bound by its own name. Empty: the default
  /// exchange.
  std::string exchange{};
  /// Goes into the header `retry-policy`. Empty: what to_string() says.
  std::string name{};
  /// Since the first failure: what could be tried again only later than that is parked, with reason
  /// `deadline`.
  std::optional<std::chrono::milliseconds> deadline{};
  std::optional<std::chrono::milliseconds> max_delay{};  ///< the cap of each delay
  /// From 0 to below 1: each delay is between (1 - jitter) of its length and all of it, at random.
  double jitter = 0;

  friend bool operator==(const RetryOptions&, const RetryOptions&) = default;  ///< equal in all of it
};

/// Of RetryPolicy::exponential(); what RetryOptions has too means the same.
struct ExponentialOptions {
  std::uint32_t max_attempts = 5;                       ///< as in RetryOptions
  std::chrono::milliseconds initial{1'000};             ///< the first delay
  std::chrono::milliseconds max{60'000};                ///< the cap
  double multiplier = 2;                                ///< of one delay to the next, from 1
  double jitter = 0;                                    ///< as in RetryOptions, and so are the following ones
  std::uint32_t immediate = 0;                          ///< runs in place ahead of each copy
  std::optional<std::chrono::milliseconds> deadline{};  ///< since the first failure
  std::string parked_queue{};                           ///< empty: `<queue>_parked`
  std::string exchange{};                               ///< empty: the default exchange
  std::string name{};                                   ///< empty: what to_string() says
};

}  // namespace warren::inline v0
