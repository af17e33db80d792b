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

/// One call of ConsumerOptions::on_end, on its way to the connection's thread for events, from which it may
/// never come back. Any thread.
class EndCall {
 public:
  explicit EndCall(ConsumerEndCallback callback) : callback_(std::move(callback)) {}

  /// What the thread for events is to call. If its last copy is destroyed, the call counts as over.
  [[nodiscard]] static std::function<void()> make(const std::shared_ptr<EndCall>& call) {
    const std::shared_ptr<void> finish(nullptr, [call](void*) { call->finish(); });
    return [call, finish] { call->run(); };
  }
  /// It is handed over to the thread for events now.
  void queue(std::exception_ptr error) noexcept {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    state_ = State::queued;
  }
  /// Returns once it is over. After the deadline it does not begin any more, but may still run.
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
