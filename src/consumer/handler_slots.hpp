#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace warren::inline v0::consumer {

/// As many handlers at once as a consumer may run, where more threads than that want to. Who is urgent goes
/// first.
class HandlerSlots {
 public:
  explicit HandlerSlots(std::size_t count) noexcept : free_(count) {}

  class Slot {
   public:
    explicit Slot(HandlerSlots& slots) noexcept : slots_(slots) {}
    ~Slot() { slots_.leave(); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    HandlerSlots& slots_;
  };

  /// Waits for a slot, for as long as the handlers of others take.
  [[nodiscard]] Slot enter(bool urgent) {
    std::unique_lock lock(mutex_);
    if (urgent) ++urgent_;
    changed_.wait(lock, [&] { return free_ > 0 && (urgent || urgent_ == 0); });
    --free_;
    // Who came while it waited sleeps, even where there was a slot for both.
    if (urgent && --urgent_ == 0 && free_ > 0) changed_.notify_all();
    return Slot(*this);
  }

 private:
  void leave() noexcept {
    const std::lock_guard lock(mutex_);
    ++free_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t free_;
  std::size_t urgent_ = 0;  // that wait
};

}  // namespace warren::inline v0::consumer
