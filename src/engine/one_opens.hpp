#pragma once

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <type_traits>

namespace warren::inline v0::engine {

/// Lets one thread open a channel or a connection while the other threads that need it wait.
///
/// It holds no resource. Its owner keeps the opened object, and guards that object and this one with one
/// lock. Each function is called with that lock held. The owner's loop looks like this:
///
///     while (!channel_) {
///       if (opening_.is_running()) {
///         if (opening_.wait(lock, deadline, [&] { return closed_; })) continue;
///         throw TimeoutError(...);
///       }
///       auto opened = opening_.run(lock, [&] { return open_channel(deadline); });
///       if (!closed_) channel_ = std::move(opened);
///     }
///
/// run() ends the wait of the other threads while it holds the lock, and its caller keeps holding it. So no
/// thread sees the attempt ended before the caller has stored the opened object.
class OneOpens {
 public:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  /// Whether a thread is within run().
  [[nodiscard]] bool is_running() const noexcept { return running_; }
  /// How many attempts have ended, with or without success. A waiting thread compares it to find out whether
  /// the latest failure belongs to the attempt that it waited for.
  [[nodiscard]] std::uint64_t ended() const noexcept { return ended_; }

  /// Runs `open` without the lock, and returns its result with the lock held again. Must not be called while
  /// is_running(). An exception from `open` is passed on, with the lock held again.
  template <std::invocable Open>
  std::invoke_result_t<Open&> run(Lock& lock, Open&& open) {
    struct End {
      ~End() {
        lock.lock();
        own.running_ = false;
        ++own.ended_;
        own.changed_.notify_all();
      }
      OneOpens& own;
      Lock& lock;
    };
    running_ = true;
    lock.unlock();
    const End end{*this, lock};
    return open();
  }

  /// Blocks until the running attempt has ended, or until `leave` returns true. `leave` is asked at the
  /// beginning, and after each wake(). Returns at once if no attempt runs.
  /// @returns false at the deadline; Clock::time_point::max() means no deadline
  template <std::predicate Leave>
  bool wait(Lock& lock, Clock::time_point deadline, Leave&& leave) {
    const std::uint64_t before = ended_;
    const auto over = [&] { return !running_ || ended_ != before || leave(); };
    if (deadline != Clock::time_point::max()) return changed_.wait_until(lock, deadline, over);
    changed_.wait(lock, over);
    return true;
  }

  /// Every thread in wait() asks its `leave` again.
  void wake() noexcept { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
  std::uint64_t ended_ = 0;
  bool running_ = false;
};

}  // namespace warren::inline v0::engine
