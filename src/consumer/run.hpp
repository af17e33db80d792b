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

/// One run of a consumer, from start() to its end: its subscription, and with a crash guard the suspects'
/// beside it, the threads that work for them, and how it ended. It is never begun again.
///
/// Each worker takes deliveries (Worker); a keeper for each subscription keeps it alive (Keeper). Once the
/// run is to end, the supervisor drains it. A stop that finds no end in time leaves the run: its threads end
/// when they can, and nothing that they do counts for those who waited. Its threads share it, so that it may
/// outlive its Consumer. Any thread.
class Run : public std::enable_shared_from_this<Run> {
 public:
  using Clock = std::chrono::steady_clock;

  Run(std::shared_ptr<Common> common, Handler handler);

  /// Subscribes, and starts the threads. Called once.
  /// @param begun  called before anything is sent; if it throws, the run is over
  /// @throws ChannelError, ConnectionError, TimeoutError  it can't subscribe, and is over
  void begin(const std::function<void()>& begun);
  /// Not begun yet, or not over yet.
  [[nodiscard]] bool is_running() const;
  /// No handler starts any more. Does not wait.
  void request_stop() noexcept;
  /// False if it still runs at the deadline. Rethrows what ended it, once.
  /// @throws TimeoutError  a stop did not wait for handlers or deliveries
  bool wait(Clock::time_point deadline);
  /// request_stop(), and blocks until it is over, at most `stop_within`.
  /// @throws TimeoutError  as wait()
  void stop();
  /// The supervisor is nobody's to wait for: the run ends by itself.
  void leave_alone() noexcept;
  /// After its end: waits for the supervisor to return.
  void join() noexcept;
  /// on_end's call, once it was handed over; else null.
  [[nodiscard]] std::shared_ptr<EndCall> end_call() const;
  [[nodiscard]] const engine::Subscription& subscription() const noexcept { return *subscription_; }

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return common_->process(); }

 private:
  enum class Phase : std::uint8_t {
    running,
    left,  // a stop gave it up
    over,
  };
  // What a stop did not wait for.
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
  std::shared_ptr<Handler> handler_;  // until begin(); then the workers' alone, so that it goes with them
  // The run's own: a handler that a drain left behind keeps its slot.
  HandlerSlots slots_;
  const std::shared_ptr<engine::Subscription> subscription_;
  const std::shared_ptr<engine::Subscription> suspects_;  // null without a guard

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::running;
  std::optional<Clock::time_point> stopped_at_;  // somebody asked for its end
  Cut cut_;
  std::exception_ptr result_;
  std::shared_ptr<EndCall> end_call_;  // made with the run: its end may find no memory
  std::function<void()> call_end_;     // until it is handed over
  std::thread supervisor_;
  std::thread suspects_keeper_;
  std::vector<std::thread> workers_;
  std::size_t live_workers_ = 0;
};

}  // namespace warren::inline v0::consumer
