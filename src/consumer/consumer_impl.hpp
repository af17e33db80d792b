#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <warren/consumer.hpp>

#include "consumer/circuit_breaker.hpp"
#include "consumer/crash_guard.hpp"
#include "consumer/handler_slots.hpp"
#include "consumer/handler_watch.hpp"
#include "engine/subscription.hpp"
#include "retry/copy.hpp"
#include "retry/failure.hpp"
#include "retry/republisher.hpp"

namespace warren::inline v0 {

/// What a Consumer is made of: its runs, one after the other, each a subscription (two with a crash guard),
/// the workers that take from it, and a supervisor that keeps it alive.
struct Consumer::Impl : std::enable_shared_from_this<Consumer::Impl> {
  using Clock = std::chrono::steady_clock;
  using Subscription = engine::Subscription;

  Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted);

  /// `begun` is called once request_stop() ends this run, ahead of the first message.
  void start(Handler handler, const std::function<void()>& begun = {});
  /// False if it still runs at the deadline. Rethrows what ended it, once.
  bool wait(Clock::time_point deadline);
  void request_stop() noexcept;
  void stop();
  /// For the destructor: as stop(), and no on_end begins any more. In a handler it only asks for the end.
  void shut_down() noexcept;
  [[nodiscard]] ConsumerStatus status() const;

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return connection->process(); }

  const std::shared_ptr<engine::ConnectionCore> connection;
  const std::string queue;
  const ConsumerOptions options;

 private:
  using RunPtr = std::shared_ptr<Subscription>;
  using Counter = std::atomic<std::uint64_t>;

  // When a stop gives up what.
  struct Bounds {
    Clock::time_point settle_by{};  // handlers, and deliveries to be settled
    Clock::time_point close_by{};   // the broker's answers
    Clock::time_point leave_by{};   // everything
  };
  // What a stop did not wait for.
  struct Cut {
    std::size_t handlers = 0;
    std::size_t unsettled = 0;  // deliveries, with AckMode::manual
    bool told = false;
  };
  class EndCall;

  [[nodiscard]] std::chrono::milliseconds stop_within() const;
  [[nodiscard]] std::chrono::milliseconds closing_time() const;
  [[nodiscard]] Bounds bounds(Clock::time_point from) const;
  void become_worker() const noexcept;
  [[nodiscard]] bool in_handler() const noexcept;
  void refuse_in_handler(const char* operation) const;
  [[nodiscard]] bool is_current(const Subscription& run) const { return running && current.get() == &run; }
  bool await_end(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  void prepare_end_call();
  void leave() noexcept;
  void over() noexcept;
  void tell_end() noexcept;
  void tell_cut(bool waited);
  void open(const RunPtr& run, const RunPtr& beside);
  using ThreadPtr = std::shared_ptr<std::thread>;
  bool start_threads(const RunPtr& run, const RunPtr& beside, const ThreadPtr& watcher, Handler handler);
  void supervise(const RunPtr& run, const RunPtr& beside, std::thread& watcher) noexcept;
  void see_to_end(const RunPtr& run) noexcept;
  void restore(Subscription& run) noexcept;
  void heed_breaker(Subscription& run, CircuitState& heeded) noexcept;
  void tell_circuit(CircuitState state) noexcept;
  void judge(bool failed, std::uint64_t epoch);
  void drain(Subscription& run, Subscription* beside) noexcept;
  void end(Subscription& run) noexcept;
  void work(const RunPtr& run, const Handler& handler, consumer::HandlerSlots& slots) noexcept;
  void handle(Subscription& run, engine::Content& content, const Handler& handler,
              consumer::HandlerSlots& slots);
  bool admit(Subscription& run, Delivery& delivery);
  void run_handler(Subscription& run, Delivery& delivery, const Handler& handler);
  void give_back(Subscription& run, const Delivery& delivery);
  void settle(Subscription& run, const Delivery& delivery, Outcome outcome);
  FailureDecision decide(const std::exception_ptr& error) noexcept;
  void ignore(Subscription& run, const Delivery& delivery, const retry::Failure& failure);
  void fail(Subscription& run, const Delivery& delivery, const retry::Failure& failure,
            const std::exception_ptr& error);
  void send_copy(Subscription& run, const Delivery& delivery, const retry::Failure& failure);
  void pass_on(Subscription& run, const Delivery& delivery, retry::Copy copy, Counter* counter);
  [[nodiscard]] bool transfer(Subscription& run, const Delivery& delivery, retry::Copy& copy);
  void settle_original(Subscription& run, const Delivery& delivery, bool sent, Counter* counter);
  [[nodiscard]] bool is_suspects(const Subscription& run) const {
    return guard && run.queue() == guard->suspect_queue();
  }
  void count(bool settled, Counter* counter) noexcept;
  void log(LogLevel level, std::string text) noexcept { connection->events().log(level, std::move(text)); }
  template <std::invocable Make>
  void log(LogLevel level, Make&& make) noexcept {
    connection->events().log(level, std::forward<Make>(make));
  }

  retry::Republisher republisher;
  consumer::HandlerWatch watch;
  std::optional<consumer::CircuitBreaker> breaker;
  std::optional<consumer::CrashGuard> guard;

  mutable std::mutex mutex;
  std::condition_variable changed;
  RunPtr current;   // of the latest start()
  RunPtr suspects;  // beside it, where there is a guard
  bool running = false;
  std::uint64_t run_number = 0;                 // of the latest run, from 1
  std::optional<Clock::time_point> stopped_at;  // somebody asked for the end of the latest run
  Cut cut;                                      // by the end of the latest run
  std::exception_ptr result;
  std::shared_ptr<EndCall> end_call;       // the latest one
  std::shared_ptr<EndCall> next_end_call;  // of this run, made with it: its end may find no memory
  std::function<void()> call_end;          // of next_end_call
  std::thread supervisor;
  std::vector<std::thread> workers;
  std::size_t live_workers = 0;

  std::atomic<std::size_t> handlers{0};
  Counter acked{0};
  Counter retried{0};
  Counter parked{0};
  Counter stale{0};
  Counter ignored{0};
  Counter suspected{0};
};

}  // namespace warren::inline v0
