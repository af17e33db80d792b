#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <warren/consumer_options.hpp>

namespace warren::inline v0::consumer {

/// One call of ConsumerOptions::on_end on the connection's thread for events. The callback may never return.
/// Thread-safe.
class EndCall {
 public:
  explicit EndCall(ConsumerEndCallback callback) : callback_(std::move(callback)) {}

  /// Makes the function that the thread for events calls. The call counts as over when the last copy of this
  /// function is destroyed.
  [[nodiscard]] static std::function<void()> make(const std::shared_ptr<EndCall>& call) {
    const std::shared_ptr<void> finish(nullptr, [call](void*) { call->finish(); });
    return [call, finish] { call->run(); };
  }
  /// Notes that the call is handed to the thread for events.
  /// @param error  the argument of the callback
  void queue(std::exception_ptr error) noexcept {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    state_ = State::queued;
  }
  /// Waits until the call is over, at most until the deadline. A call that has not begun by then never
  /// begins. A call that has begun may still run.
  void await(std::chrono::steady_clock::time_point deadline) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return state_ == State::over; });
    if (state_ == State::queued) state_ = State::over;
  }

 private:
  enum class State : std::uint8_t { idle, queued, running, over };

  void run() {
    {
      const std::lock_guard lock(mutex_);
      if (state_ != State::queued) return;
      state_ = State::running;
    }
    callback_(error_);
  }
  void finish() noexcept {
    const std::lock_guard lock(mutex_);
    state_ = State::over;
    changed_.notify_all();
  }

  const ConsumerEndCallback callback_;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::idle;
};

}  // namespace warren::inline v0::consumer
