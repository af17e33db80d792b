#pragma once

namespace warren::inline v0::engine {

/// Wakes a thread that sleeps in poll(). The one place that knows how the system does that.
class Wakeup {
 public:
  /// @throws ConnectionError where the process has no descriptor left
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// To poll for reading.
  [[nodiscard]] int descriptor() const noexcept { return read_end_; }
  /// Makes the descriptor readable. Any thread; never blocks.
  void wake() noexcept;
  /// Makes it unreadable again. Never blocks.
  void clear() noexcept;

 private:
  int read_end_ = -1;
  int write_end_ = -1;
};

}  // namespace warren::inline v0::engine
