#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

#include <warren/connection_options.hpp>

namespace warren::inline v0::engine {

/// When to try to connect again. Not synchronised; time is what it is told.
class Backoff {
 public:
  using Clock = std::chrono::steady_clock;

  Backoff(const RecoveryOptions& options, std::uint64_t seed);

  /// The connection works since this moment.
  void connected(Clock::time_point now) noexcept;
  /// The connection is lost since this moment. If it was not stable, the previous outage goes on: its
  /// pauses, its tries and its end.
  void lost(Clock::time_point now) noexcept;
  /// The delay before the next attempt; nothing if it is time to give up.
  [[nodiscard]] std::optional<std::chrono::milliseconds> next(Clock::time_point now);

 private:
  const RecoveryOptions options_;
  std::mt19937_64 random_;
  std::chrono::milliseconds delay_{0};  // of the latest try, before chance
  std::uint32_t tries_ = 0;
  Clock::time_point connected_at_{};
  Clock::time_point lost_at_{};    // the latest time
  Clock::time_point outage_at_{};  // since when it was never stable
};

}  // namespace warren::inline v0::engine
