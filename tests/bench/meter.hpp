#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace bench {

/// What the process used from start() to stop(): all its threads together.
class Meter {
 public:
  using Clock = std::chrono::steady_clock;

  /// @param latencies  how many there will be, so that none allocates while it is measured
  explicit Meter(std::size_t latencies) { latencies_.reserve(latencies); }

  void start();
  void stop();
  /// One thread at a time; a run without latencies has none.
  void latency(Clock::duration time) { latencies_.push_back(time); }

  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(wall_).count(); }
  [[nodiscard]] double cpu_microseconds() const {
    return std::chrono::duration<double, std::micro>(cpu_).count();
  }
  [[nodiscard]] std::uint64_t allocations() const { return allocations_; }
  /// The most memory it ever held from start() on, in KiB.
  [[nodiscard]] std::int64_t max_rss_kib() const { return max_rss_kib_; }
  [[nodiscard]] bool has_latencies() const { return !latencies_.empty(); }
  /// @param percent  of the latencies are at most so long, in microseconds
  [[nodiscard]] double percentile(double percent) const;

 private:
  Clock::time_point started_{};
  Clock::duration wall_{};
  std::chrono::microseconds cpu_{};
  std::uint64_t allocations_ = 0;
  std::int64_t max_rss_kib_ = 0;
  std::vector<Clock::duration> latencies_;
};

/// Calls of the allocator by any thread, from start_counting() on.
void start_counting();
[[nodiscard]] std::uint64_t stop_counting();

}  // namespace bench
