#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

#include <warren/connection_options.hpp>

namespace warren::inline v0::engine {

/// Decides when to try to connect again. It reads no clock: the caller passes the time. Not thread-safe.
class Backoff {
 public:
  using Clock = std::chrono::steady_clock;

  Backoff(const RecoveryOptions& options, std::uint64_t seed);

  /// The connection is open since `now`.
  void connected(Clock::time_point now) noexcept;
  /// The connection is lost since `now`. If it was not stable, the previous outage continues, with its
  /// delays, its attempts and its time limit.
  void lost(Clock::time_point now) noexcept;
  /// The delay before the next attempt; nullopt if it is time to give up.
  [[nodiscard]] std::optional<std::chrono::milliseconds> next(Clock::time_point now);

 private:
  const RecoveryOptions options_;
  std::mt19937_64 random_;
  std::chrono::milliseconds delay_{0};  // of the latest attempt, before jitter
  std::uint32_t tries_ = 0;
  Clock::time_point connected_at_{};
  Clock::time_point lost_at_{};    // the latest loss
  Clock::time_point outage_at_{};  // the start of the outage: the connection was never stable since
};

}  // namespace warren::inline v0::engine
