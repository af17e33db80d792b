#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace warren::inline v0::consumer {

/// Limits how many handlers run at once, because a consumer with a crash guard has more threads than that.
/// Urgent threads go first. Thread-safe.
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

  /// Waits for a slot without a limit, until the handler of another thread ends.
  [[nodiscard]] Slot enter(bool urgent) {
    std::unique_lock lock(mutex_);
    if (urgent) ++urgent_;
    changed_.wait(lock, [&] { return free_ > 0 && (urgent || urgent_ == 0); });
    --free_;
    // Threads that arrived while this urgent one waited sleep, even if there is another free slot.
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
  std::size_t urgent_ = 0;  // threads that wait
};

}  // namespace warren::inline v0::consumer
