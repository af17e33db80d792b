#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <warren/handler.hpp>

#include "consumer/common.hpp"
#include "consumer/end_call.hpp"
#include "consumer/handler_slots.hpp"
#include "engine/subscription.hpp"

namespace warren::inline v0::consumer {

/// One run of a consumer, from start() to its end. It owns its subscription, its threads and its result. With
/// a crash guard it also owns the subscription of the suspect queue. A run never begins twice.
///
/// Each worker takes deliveries (Worker). Each subscription has a keeper that keeps it alive (Keeper). When
/// the run is asked to end, the supervisor drains it. A stop that reaches its deadline leaves the run: the
/// threads end when they can, and their results are ignored. The threads share the run, so it may outlive its
/// Consumer. Thread-safe.
class Run : public std::enable_shared_from_this<Run> {
 public:
  using Clock = std::chrono::steady_clock;

  Run(std::shared_ptr<Common> common, Handler handler);

  /// Subscribes and starts the threads. Called once.
  /// @param begun  called before anything is sent; if it throws, the run is over
  /// @throws ChannelError, ConnectionError, TimeoutError  the subscription failed, and the run is over
  void begin(const std::function<void()>& begun);
  /// Whether the run is not over yet. A run that has not begun counts as running.
  [[nodiscard]] bool is_running() const;
  /// Requests the end of the run: no further handler starts. Does not wait.
  void request_stop() noexcept;
  /// Waits for the end of the run, and rethrows the error that ended it, once.
  /// @returns false if the run has not ended at the deadline
  /// @throws TimeoutError  a stop ended before all handlers had returned or all deliveries were settled
  bool wait(Clock::time_point deadline);
  /// Requests the end of the run and blocks until it is over, at most `stop_within`.
  /// @throws TimeoutError  the stop ended before all handlers had returned or all deliveries were settled
  void stop();
  /// Detaches the supervisor, so that no thread waits for it. The run ends by itself.
  void leave_alone() noexcept;
  /// Waits for the supervisor to return. Called after the end of the run.
  void join() noexcept;
  /// The call of on_end, or null if it was not handed to the thread for events.
  [[nodiscard]] std::shared_ptr<EndCall> end_call() const;
  [[nodiscard]] const engine::Subscription& subscription() const noexcept { return *subscription_; }

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return common_->process(); }

 private:
  enum class Phase : std::uint8_t {
    running,
    left,  // a stop reached its deadline before the run had ended
    over,
  };
  // The handlers and deliveries for which a stop did not wait.
  struct Cut {
    std::size_t handlers = 0;
    std::size_t unsettled = 0;  // deliveries, with AckMode::manual
    bool told = false;
  };

  // run.cpp
  void open();
  bool start_threads(const std::shared_ptr<Handler>& handler);
  void add_worker(const char* name, engine::Subscription& from, Role role,
                  const std::shared_ptr<Handler>& handler);
  void work(engine::Subscription& from, Role role, Handler& handler) noexcept;
  void supervise() noexcept;
  void hold() noexcept;
  void end(engine::Subscription& subscription) noexcept;
  void not_begun() noexcept;

  // run_stop.cpp
  [[nodiscard]] bool is_manual() const noexcept { return common_->options.ack_mode == AckMode::manual; }
  bool await_end(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  void leave() noexcept;
  void over(Phase phase) noexcept;
  void tell_end() noexcept;
  void tell_cut(bool waited);
  void drain() noexcept;
  [[nodiscard]] bool cancel(Clock::time_point until) noexcept;
  [[nodiscard]] std::vector<std::thread> take_workers(std::size_t unsettled, bool& drained) noexcept;

  const std::shared_ptr<Common> common_;
  // Set until begin(). Then only the workers hold the handler, and it is destroyed with them.
  std::shared_ptr<Handler> handler_;
  // Each run has its own slots, because a handler that a drain left behind keeps its slot.
  HandlerSlots slots_;
  const std::shared_ptr<engine::Subscription> subscription_;
  const std::shared_ptr<engine::Subscription> suspects_;  // null without a guard

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::running;
  std::optional<Clock::time_point> stopped_at_;  // when the first stop was requested
  Cut cut_;
  std::exception_ptr result_;
  std::shared_ptr<EndCall> end_call_;  // made with the run, because there may be no memory at its end
  std::function<void()> call_end_;     // empty once it is handed to the thread for events
  std::thread supervisor_;
  std::thread suspects_keeper_;
  std::vector<std::thread> workers_;
  std::size_t live_workers_ = 0;
};

}  // namespace warren::inline v0::consumer
