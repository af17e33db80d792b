#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>

#include <warren/consumer.hpp>

namespace warren::inline v0::consumer {

/// Decides from the latest handler runs whether a consumer should pause
/// (https://martinfowler.com/bliki/CircuitBreaker.html).
///
/// While the circuit is closed, the consumer runs. While it is open, the consumer pauses. While it is half
/// open, the outcome of one message decides between the two. Thread-safe. The caller passes the current time.
class CircuitBreaker {
 public:
  using Moment = std::chrono::steady_clock::time_point;

  explicit CircuitBreaker(CircuitBreakerOptions options) noexcept : options_(options) {}

  /// A number that changes with the state. The caller reads it when a handler begins, so that record() knows
  /// whether the handler began in the current state.
  [[nodiscard]] std::uint64_t epoch() const;
  /// Records how a handler run ended. A run that began in another epoch, or that ends while the circuit is
  /// open, is ignored.
  /// @param epoch  the epoch() from when the handler began
  /// @returns true if the state changed
  bool record(bool failed, std::uint64_t epoch, Moment now);
  /// Closes the circuit and forgets all recorded runs.
  void reset();
  /// Makes an open circuit half open if its pause is over.
  /// @returns true if the state changed
  bool probe(Moment now);
  [[nodiscard]] CircuitState state() const;
  /// When the pause of an open circuit is over.
  [[nodiscard]] Moment probe_at() const;

 private:
  void enter(CircuitState state);
  void open(Moment now);

  const CircuitBreakerOptions options_;
  mutable std::mutex mutex_;
  CircuitState state_ = CircuitState::closed;
  std::uint64_t epoch_ = 0;
  std::deque<bool> latest_;  // true for a failed run; the newest is last
  std::uint32_t failures_ = 0;
  Moment probe_at_{};
};

}  // namespace warren::inline v0::consumer
