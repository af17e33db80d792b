#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>

#include <warren/consumer.hpp>

namespace warren::inline v0::consumer {

/// Whether a consumer should go on, by how its latest handlers ended
/// (https://martinfowler.com/bliki/CircuitBreaker.html). Closed: it goes on. Open: it pauses. Half open: one
/// message tells which of the two it is to be. Any thread; the clock is the caller's.
class CircuitBreaker {
 public:
  using Moment = std::chrono::steady_clock::time_point;

  explicit CircuitBreaker(CircuitBreakerOptions options) noexcept : options_(options) {}

  /// Changes with the state. Read when a handler begins, so that its end is known to belong to the present
  /// one.
  [[nodiscard]] std::uint64_t epoch() const;
  /// How a handler that began in `epoch` ended. True where that changes the state. What began in another one,
  /// or while it is open, counts for nothing.
  bool record(bool failed, std::uint64_t epoch, Moment now);
  /// Closed, as at first.
  void reset();
  /// Half opens an open one whose pause is over. True where it did.
  bool probe(Moment now);
  [[nodiscard]] CircuitState state() const;
  /// While it is open: when its pause is over.
  [[nodiscard]] Moment probe_at() const;

 private:
  void enter(CircuitState state);
  void open(Moment now);

  const CircuitBreakerOptions options_;
  mutable std::mutex mutex_;
  CircuitState state_ = CircuitState::closed;
  std::uint64_t epoch_ = 0;
  std::deque<bool> latest_;  // failed; the newest at the end
  std::uint32_t failures_ = 0;
  Moment probe_at_{};
};

}  // namespace warren::inline v0::consumer
