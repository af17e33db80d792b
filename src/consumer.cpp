#include <warren/consumer.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <warren/connection.hpp>
#include <warren/error.hpp>

#include "engine/delivery_access.hpp"
#include "engine/handler_watch.hpp"
#include "engine/subscription.hpp"
#include "engine/system.hpp"
#include "retry/circuit_breaker.hpp"
#include "retry/copy.hpp"
#include "retry/crash_guard.hpp"
#include "retry/failure.hpp"
#include "retry/handler_slots.hpp"
#include "retry/headers.hpp"
#include "retry/republisher.hpp"
#include "retry/text.hpp"
#include "retry/topology.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

using engine::Subscription;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

void check(const std::string& queue, const ConsumerOptions& options) {
  constexpr const char* operation = "consumer options";
  if (queue.empty()) wire::refuse(operation, "the queue has no name");
  wire::check_short_string(queue, operation, "the queue's name");
  wire::check_short_string(options.consumer_tag, operation, "consumer_tag");
  if (options.prefetch == 0) wire::refuse(operation, "prefetch is 0, which would be without a limit");
  if (options.concurrency == 0) wire::refuse(operation, "concurrency is 0");
  if (options.drain_timeout < 0ms) wire::refuse(operation, "drain_timeout is negative");
  if (options.handler_timeout && *options.handler_timeout <= 0ms)
    wire::refuse(operation, "handler_timeout is not above 0");
  if (const auto& breaker = options.circuit_breaker) {
    if (!(breaker->failure_share > 0 && breaker->failure_share <= 1))
      wire::refuse(operation, "the circuit breaker's failure_share is not above 0, to 1");
    if (breaker->window == 0) wire::refuse(operation, "the circuit breaker's window is 0");
    if (breaker->pause <= 0ms) wire::refuse(operation, "the circuit breaker's pause is not above 0");
  }
  if (!options.crash_guard) return;
  const retry::CrashGuard guard(queue, *options.crash_guard, {});
  wire::check_short_string(guard.suspect_queue(), operation, "the suspect queue's name");
  if (options.crash_guard->limit == 0) wire::refuse(operation, "the crash guard's limit is 0");
  if (options.retry.shape() == RetryPolicy::Shape::none)
    wire::refuse(operation, "a crash guard needs a retry policy, which says where to park");
  if (options.ack_mode == AckMode::manual)
    wire::refuse(operation, "a crash guard can't tell when a handler has ended that acknowledges by itself");
  if (guard.suspect_queue() == queue || guard.suspect_queue() == options.retry.parked_queue(queue))
    wire::refuse(operation, "the suspect queue is the consumer's own, or the parked one");
}

// What the guard needs beside the policy's queues. The priority is for messages whose start is written down.
RetryTopology guard_topology(const std::string& queue, const ConsumerOptions& options) {
  const std::string suspects = retry::CrashGuard(queue, *options.crash_guard, {}).suspect_queue();
  const std::string& exchange = options.retry.options().exchange;
  RetryTopology topology{
      .exchange = exchange,
      .queues = {{suspects, {.max_priority = std::uint8_t{1}, .arguments = {{"x-queue-type", "classic"}}}}}};
  if (!exchange.empty()) topology.bindings = {suspects, queue};
  return topology;
}

engine::SubscriptionOptions subscription_options(const std::string& queue, const ConsumerOptions& options) {
  engine::SubscriptionOptions subscription{.queue = queue,
                                           .consumer_tag = options.consumer_tag,
                                           .prefetch = options.prefetch,
                                           .exclusive = options.exclusive,
                                           .arguments = options.arguments};
  if (options.priority) subscription.arguments.set("x-priority", *options.priority);
  return subscription;
}

// The connection for copies: as the consumer's, under a name of its own, and silent, since what goes wrong
// there is logged by who sends.
Connection open_publishing(const engine::ConnectionCore& beside) {
  ConnectionOptions options = beside.options();
  options.name = options.name.empty() ? "retry" : options.name + " (retry)";
  options.on_log = nullptr;
  options.on_state = nullptr;
  options.recovery.enabled = false;  // who sends opens another one
  return Connection(beside.endpoints(), std::move(options));
}

// As much of an error's text as belongs into a log.
std::string one_line(const std::string& text) {
  std::string line = retry::to_utf8(text, 200);
  std::ranges::replace_if(
      line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

// For a log: the message id, where it has one.
std::string name_of(const Delivery& delivery) {
  const auto& id = delivery.properties().message_id;
  return id && !id->empty() ? "message " + one_line(*id)
                            : fmt::format("delivery {}", delivery.delivery_tag());
}

}  // namespace

struct Consumer::Impl : std::enable_shared_from_this<Consumer::Impl> {
  Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
      : connection(std::move(core)),
        queue(std::move(name)),
        options(std::move(wanted)),
        republisher(
            [this] { return open_publishing(*connection); }, options.retry, queue,
            [this](LogLevel level, const std::string& text) { connection->events().log(level, text); }),
        watch(options.handler_timeout,
              [this](const std::string& what) {
                log(LogLevel::warning, fmt::format("a handler of \"{}\" runs for longer than {} ms: {}",
                                                   queue, options.handler_timeout->count(), what));
              }),
        slots(options.concurrency) {
    if (options.circuit_breaker) breaker.emplace(*options.circuit_breaker);
    if (options.crash_guard) guard.emplace(queue, *options.crash_guard, retry::random_uuid());
  }

  /// `begun` is called once request_stop() ends this run, ahead of the first message.
  void start(Handler handler, const std::function<void()>& begun = {});
  /// False where it still runs at the deadline. Rethrows what ended it, once.
  bool wait(std::optional<Clock::time_point> deadline);
  void request_stop() noexcept;
  void stop();
  [[nodiscard]] ConsumerStatus status() const;

  const std::shared_ptr<engine::ConnectionCore> connection;
  const std::string queue;
  const ConsumerOptions options;

 private:
  using RunPtr = std::shared_ptr<Subscription>;
  using Counter = std::atomic<std::uint64_t>;

  void open(const RunPtr& run, const RunPtr& beside);
  void start_threads(const RunPtr& run, const RunPtr& beside, Handler handler);
  void supervise(const RunPtr& run, const RunPtr& beside) noexcept;
  void see_to_end(const RunPtr& run) noexcept;
  void restore(Subscription& run, Subscription::Event event) noexcept;
  void heed_breaker(Subscription& run, CircuitState& heeded) noexcept;
  void judge(Subscription& run, bool failed);
  bool drain(Subscription& run, Subscription* beside) noexcept;
  void end(Subscription& run) noexcept;
  void work(const RunPtr& run, const Handler& handler) noexcept;
  void handle(Subscription& run, engine::Content& content, const Handler& handler);
  bool admit(Subscription& run, Delivery& delivery);
  void run_handler(Subscription& run, Delivery& delivery, const Handler& handler);
  void give_back(Subscription& run, const Delivery& delivery);
  void settle(Subscription& run, const Delivery& delivery, Outcome outcome);
  FailureDecision decide(const std::exception_ptr& error) noexcept;
  void ignore(Subscription& run, const Delivery& delivery, const retry::Failure& failure);
  void fail(Subscription& run, const Delivery& delivery, const retry::Failure& failure,
            const std::exception_ptr& error);
  void send_copy(Subscription& run, const Delivery& delivery, const retry::Failure& failure);
  void pass_on(Subscription& run, const Delivery& delivery, const retry::Copy& copy, Counter* counter);
  [[nodiscard]] bool is_suspects(const Subscription& run) const {
    return guard && run.queue() == guard->suspect_queue();
  }
  void count(bool settled, Counter* counter) noexcept;
  void log(LogLevel level, std::string text) { connection->events().log(level, std::move(text)); }

  retry::Republisher republisher;
  engine::HandlerWatch watch;
  std::optional<retry::CircuitBreaker> breaker;
  std::optional<retry::CrashGuard> guard;
  retry::HandlerSlots slots;

  mutable std::mutex mutex;
  std::condition_variable changed;
  RunPtr current;   // of the latest start()
  RunPtr suspects;  // beside it, where there is a guard
  bool running = false;
  bool overran = false;  // a handler outlived the drain of the latest run
  std::exception_ptr result;
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

void Consumer::Impl::start(Handler handler, const std::function<void()>& begun) {
  const auto run = std::make_shared<Subscription>(connection, subscription_options(queue, options));
  const auto beside =
      guard ? std::make_shared<Subscription>(
                  connection, engine::SubscriptionOptions{.queue = guard->suspect_queue(), .prefetch = 1})
            : nullptr;
  {
    const std::lock_guard lock(mutex);
    if (running) wire::refuse("start", "the consumer runs already");
    if (supervisor.joinable()) supervisor.join();
    current = run;
    suspects = beside;
    result = nullptr;
    overran = false;
    running = true;
  }
  const auto not_begun = [&] {
    const std::lock_guard lock(mutex);
    running = false;
    changed.notify_all();
  };
  if (begun) begun();
  if (run->is_ending()) return not_begun();
  try {
    open(run, beside);
  } catch (...) {
    not_begun();
    throw;
  }
  try {
    start_threads(run, beside, std::move(handler));
  } catch (...) {  // no thread, no memory: what was begun is ended here, and wait() tells
    run->end(std::current_exception());
    supervise(run, beside);
  }
}

void Consumer::Impl::open(const RunPtr& run, const RunPtr& beside) {
  run->open();
  if (!beside) return;
  guard->subscribing();
  try {
    beside->open();
  } catch (...) {
    run->end(nullptr);
    end(*run);
    throw;
  }
}

void Consumer::Impl::start_threads(const RunPtr& run, const RunPtr& beside, Handler handler) {
  const auto self = shared_from_this();
  const auto shared = std::make_shared<const Handler>(std::move(handler));
  const std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < options.concurrency; ++i) {
    workers.push_back(
        engine::start_thread("warren-worker", [self, run, shared] { self->work(run, *shared); }));
    ++live_workers;
  }
  if (beside) {
    workers.push_back(
        engine::start_thread("warren-suspects", [self, beside, shared] { self->work(beside, *shared); }));
    ++live_workers;
  }
  supervisor = engine::start_thread("warren-consumer", [self, run, beside] { self->supervise(run, beside); });
}

void Consumer::Impl::supervise(const RunPtr& run, const RunPtr& beside) noexcept {
  std::thread watcher;
  if (beside) {
    try {
      watcher = engine::start_thread("warren-guard", [this, run, beside] {
        see_to_end(beside);
        run->end(beside->reason());
      });
    } catch (...) {
      run->end(std::current_exception());
    }
  }
  see_to_end(run);
  if (beside) beside->end(nullptr);
  if (watcher.joinable()) watcher.join();
  republisher.wake();
  const bool drained = drain(*run, beside.get());
  const std::lock_guard lock(mutex);
  result = run->reason();
  overran = !drained;
  running = false;
  changed.notify_all();
}

// Returns once the subscription has ended.
void Consumer::Impl::see_to_end(const RunPtr& run) noexcept {
  CircuitState heeded = CircuitState::closed;
  for (;;) {
    const bool paused = heeded == CircuitState::open;
    const auto event = run->wait(paused ? breaker->probe_at() : Clock::time_point::max());
    if (event == Subscription::Event::ended) return;
    if (event != Subscription::Event::woken) {
      if (is_suspects(*run)) guard->subscribing();
      restore(*run, event);
    }
    if (breaker && !is_suspects(*run)) heed_breaker(*run, heeded);
  }
}

// Makes of the subscription what the breaker says; `heeded` is what it is made for. A channel that is lost
// meanwhile is opened again as what it should be by then.
void Consumer::Impl::heed_breaker(Subscription& run, CircuitState& heeded) noexcept {
  breaker->probe(Clock::now());
  const CircuitState state = breaker->state();
  if (state == heeded) return;
  const CircuitState before = std::exchange(heeded, state);
  try {
    if (before != CircuitState::open) run.pause();
    if (state == CircuitState::open) {
      log(LogLevel::warning, fmt::format("the handlers of \"{}\" fail: paused for {} ms", queue,
                                         options.circuit_breaker->pause.count()));
    } else if (state == CircuitState::half_open) {
      log(LogLevel::info, fmt::format("one message of \"{}\" is tried", queue));
      run.resume(1);
    } else {
      log(LogLevel::info, fmt::format("the handlers of \"{}\" succeed again", queue));
      run.resume(options.prefetch);
    }
  } catch (const TimeoutError& error) {
    connection->drop(error.what());
  } catch (const Error&) {  // the channel was lost over it, or the run ended
    if (connection->has_ended()) run.end(std::current_exception());
  } catch (...) {
    run.end(std::current_exception());
  }
}

// What a handler's end says of those to come.
void Consumer::Impl::judge(Subscription& run, bool failed) {
  if (breaker && !is_suspects(run) && breaker->record(failed, Clock::now())) run.hold();
}

// Cancelled: the queue was deleted, or its leader moved (https://www.rabbitmq.com/docs/consumer-cancel).
void Consumer::Impl::restore(Subscription& run, Subscription::Event event) noexcept {
  try {
    if (event == Subscription::Event::lost) {
      run.open_again();
      if (!run.is_ending()) {
        log(LogLevel::info, run.is_subscribed()
                                ? fmt::format("subscribed to \"{}\" again", run.queue())
                                : fmt::format("the subscription to \"{}\" stays paused", run.queue()));
      }
    } else {
      log(LogLevel::warning, fmt::format("the broker cancelled the subscription to \"{}\"", run.queue()));
      run.subscribe_again();
    }
  } catch (const ConnectionError&) {
    if (connection->has_ended()) run.end(std::current_exception());
  } catch (...) {
    run.end(std::current_exception());  // where the channel was closed over it, that is the reason already
  }
}

// False where a handler still runs at the end of the time for it.
bool Consumer::Impl::drain(Subscription& run, Subscription* beside) noexcept {
  const auto deadline = Clock::now() + options.drain_timeout;
  const bool answers = run.cancel(connection->operation_deadline());
  if (beside != nullptr) beside->cancel(answers ? connection->operation_deadline() : Clock::now());
  std::vector<std::thread> ended;
  bool drained = false;
  {
    std::unique_lock lock(mutex);
    drained = changed.wait_until(lock, deadline, [&] { return live_workers == 0; });
    ended.swap(workers);
    if (!drained) live_workers = 0;
  }
  run.close(answers ? connection->operation_deadline() : Clock::now());
  if (beside != nullptr) beside->close(answers ? connection->operation_deadline() : Clock::now());
  for (std::thread& worker : ended) {
    if (drained) {
      worker.join();
    } else {
      worker.detach();  // a handler can't be ended from outside; its outcome will be stale
    }
  }
  return drained;
}

// Of a subscription that no worker takes from.
void Consumer::Impl::end(Subscription& run) noexcept {
  run.cancel(connection->operation_deadline());
  run.close(connection->operation_deadline());
}

void Consumer::Impl::work(const RunPtr& run, const Handler& handler) noexcept {
  Subscription::ContentPtr content;
  while (run->take(content)) {
    ++handlers;
    try {
      handle(*run, *content, handler);
    } catch (...) {  // our own fault, or no memory: never silently
      run->end(std::current_exception());
    }
    --handlers;
  }
  const std::lock_guard lock(mutex);
  if ((current != run && suspects != run) || live_workers == 0) return;  // left behind by a drain
  --live_workers;
  changed.notify_all();
}

void Consumer::Impl::handle(Subscription& run, engine::Content& content, const Handler& handler) {
  Delivery& delivery = content.delivery;
  if (!content.fault.empty()) {
    const auto error = std::make_exception_ptr(Undecodable("the properties can't be read: " + content.fault));
    return fail(run, delivery, retry::describe(error, 0), error);
  }
  if (!guard) return run_handler(run, delivery, handler);
  if (!admit(run, delivery)) return;
  const auto slot = slots.enter(is_suspects(run));
  if (run.is_ending()) return give_back(run, delivery);
  if (is_suspects(run)) retry::CrashGuard::restore(delivery);
  run_handler(run, delivery, handler);
}

// Whether the handler may start; else the message is on its way to where it is told by then.
bool Consumer::Impl::admit(Subscription& run, Delivery& delivery) {
  if (!is_suspects(run)) {
    if (!delivery.redelivered()) return true;
    pass_on(run, delivery, guard->suspect(delivery), &suspected);
    return false;
  }
  switch (guard->step(delivery)) {
    case retry::CrashGuard::Step::handle:
      return true;
    case retry::CrashGuard::Step::record:
      pass_on(run, delivery, guard->record(delivery), nullptr);
      return false;
    default:
      const retry::Failure crash = retry::CrashGuard::crash(delivery);
      retry::CrashGuard::restore(delivery);
      send_copy(run, delivery, crash);
      return false;
  }
}

// What a stop was faster than: the start that is written down did not happen.
void Consumer::Impl::give_back(Subscription& run, const Delivery& delivery) {
  if (is_suspects(run)) {
    const auto until = Clock::now() + 2s;
    if (republisher.send(guard->take_back(delivery), [until] { return Clock::now() > until; })) {
      return count(run.acknowledge(delivery), nullptr);
    }
  }
  run.refuse(delivery, Requeue::yes);
}

void Consumer::Impl::run_handler(Subscription& run, Delivery& delivery, const Handler& handler) {
  if (options.retry.shape() != RetryPolicy::Shape::none) {
    if (auto origin = retry::original_address(delivery.headers())) {
      engine::DeliveryAccess::address(delivery, std::move(origin->exchange), std::move(origin->routing_key));
    }
  }
  std::optional<std::chrono::system_clock::time_point> first_failure;
  for (std::uint32_t runs = 1;; ++runs) {
    std::exception_ptr error;
    try {
      engine::DeliveryAccess::runs_before(delivery, runs - 1);
      const engine::HandlerWatch::Run watched(watch,
                                              options.handler_timeout ? name_of(delivery) : std::string());
      const Outcome outcome = handler(delivery);
      if (outcome == Outcome::reject) throw Reject("the handler returned Outcome::reject");
      if (outcome != Outcome::retry) {
        judge(run, outcome == Outcome::requeue);
        return settle(run, delivery, outcome);
      }
    } catch (...) {
      error = std::current_exception();
    }
    retry::Failure failure = retry::describe(error, runs);
    if (!error) failure.error_message = "the handler returned Outcome::retry";
    if (error && failure.reason == retry::Reason::exception) {
      const FailureDecision decision = decide(error);
      if (decision.action == FailureDecision::Action::ignore) {
        judge(run, false);
        return ignore(run, delivery, failure);
      }
      if (decision.action == FailureDecision::Action::reject) failure.reason = retry::Reason::rejected;
      failure.delay = decision.delay;
    }
    judge(run, failure.reason == retry::Reason::exception);
    const auto now = std::chrono::system_clock::now();
    if (!first_failure) first_failure = now;
    failure.first_at = first_failure;
    const bool again = !run.is_ending() && retry::run_again_in_place(options.retry, delivery, failure, now);
    if (!again) return fail(run, delivery, failure, error);
  }
}

void Consumer::Impl::settle(Subscription& run, const Delivery& delivery, Outcome outcome) {
  if (outcome != Outcome::ack && is_suspects(run)) {  // the consumer's own queue is meant
    return pass_on(run, delivery, guard->clear(delivery), nullptr);
  }
  switch (outcome) {
    case Outcome::requeue:
      return count(run.refuse(delivery, Requeue::yes), nullptr);
    case Outcome::dead_letter:
      return count(run.refuse(delivery, Requeue::no), nullptr);
    default:
      if (options.ack_mode == AckMode::after_handler) count(run.acknowledge(delivery), &acked);
  }
}

FailureDecision Consumer::Impl::decide(const std::exception_ptr& error) noexcept {
  try {
    return options.failures.decide(error).value_or(FailureDecision{});
  } catch (const std::exception& thrown) {
    log(LogLevel::error, fmt::format("the function that classifies failures of \"{}\" threw: {}", queue,
                                     one_line(thrown.what())));
  } catch (...) {
    log(LogLevel::error, fmt::format("the function that classifies failures of \"{}\" threw", queue));
  }
  return {};
}

void Consumer::Impl::ignore(Subscription& run, const Delivery& delivery, const retry::Failure& failure) {
  log(LogLevel::info, fmt::format("a message of \"{}\" failed, which is ignored: {}", queue,
                                  one_line(failure.error_message)));
  count(true, &ignored);
  if (options.ack_mode == AckMode::manual && !run.is_unsettled(delivery)) return;
  count(run.acknowledge(delivery), &acked);
}

void Consumer::Impl::fail(Subscription& run, const Delivery& delivery, const retry::Failure& failure,
                          const std::exception_ptr& error) {
  const bool settled_by_handler = options.ack_mode == AckMode::manual && !run.is_unsettled(delivery);
  if (options.retry.shape() == RetryPolicy::Shape::none) {
    run.end(error ? error
                  : std::make_exception_ptr(
                        Error({.operation = fmt::format("handle a message of \"{}\"", queue),
                               .text = failure.error_message + ", and there is no retry policy"})));
    if (!settled_by_handler) run.refuse(delivery, Requeue::yes);
  } else if (settled_by_handler) {
    log(LogLevel::warning,
        fmt::format("a handler failed after it had settled its message: {}", failure.error_message));
  } else {
    send_copy(run, delivery, failure);
  }
}

void Consumer::Impl::send_copy(Subscription& run, const Delivery& delivery, const retry::Failure& failure) {
  retry::Copy copy = retry::make_copy(options.retry, queue, delivery, failure,
                                      std::chrono::system_clock::now(), engine::host_name());
  if (copy.reason == retry::Reason::crash)
    copy.message.properties().headers.set(retry::header::crash_count, std::int64_t{failure.runs});
  log(copy.parked ? LogLevel::warning : LogLevel::info,
      fmt::format("a message of \"{}\" failed ({}), and goes to \"{}\": {}", queue,
                  retry::to_string(copy.reason), copy.queue, one_line(failure.error_message)));
  pass_on(run, delivery, copy, copy.parked ? &parked : &retried);
}

void Consumer::Impl::pass_on(Subscription& run, const Delivery& delivery, const retry::Copy& copy,
                             Counter* counter) {
  if (!republisher.send(copy, [&run] { return run.is_ending(); })) {
    run.refuse(delivery, Requeue::yes);  // the original is still there, and comes again
    return;
  }
  count(run.acknowledge(delivery), counter);
}

void Consumer::Impl::count(bool settled, Counter* counter) noexcept {
  if (!settled) counter = &stale;
  if (counter != nullptr) counter->fetch_add(1, std::memory_order_relaxed);
}

bool Consumer::Impl::wait(std::optional<Clock::time_point> deadline) {
  std::unique_lock lock(mutex);
  const auto ended = [&] { return !running; };
  if (!deadline) {
    changed.wait(lock, ended);
  } else if (!changed.wait_until(lock, *deadline, ended)) {
    return false;
  }
  if (const auto error = std::exchange(result, nullptr)) std::rethrow_exception(error);
  if (std::exchange(overran, false)) {
    throw TimeoutError({.operation = fmt::format("stop the consumer of \"{}\"", queue),
                        .text = "a handler still runs; its message goes back to the queue"});
  }
  return true;
}

void Consumer::Impl::request_stop() noexcept {
  RunPtr run;
  {
    const std::lock_guard lock(mutex);
    run = current;
  }
  if (run) run->end(nullptr);
}

void Consumer::Impl::stop() {
  request_stop();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return !running; });  // bounded by drain()
  if (supervisor.joinable()) supervisor.join();
  if (std::exchange(overran, false)) {
    throw TimeoutError({.operation = fmt::format("stop the consumer of \"{}\"", queue),
                        .text = "a handler still runs; its message goes back to the queue"});
  }
}

ConsumerStatus Consumer::Impl::status() const {
  RunPtr run;
  {
    const std::lock_guard lock(mutex);
    run = current;
  }
  return {.subscribed = run && run->is_subscribed(),
          .waiting = run ? run->waiting() : 0,
          .running = handlers,
          .acked = acked,
          .retried = retried,
          .parked = parked,
          .stale = stale,
          .ignored = ignored,
          .overdue = watch.late(),
          .suspected = suspected,
          .circuit = breaker ? breaker->state() : CircuitState::closed};
}

Consumer::Consumer(Connection& connection, std::string queue, ConsumerOptions options) {
  check(queue, options);
  options.retry.declare(connection, queue);
  if (options.crash_guard) retry::declare(connection, guard_topology(queue, options));
  impl_ = std::make_shared<Impl>(connection.core_, std::move(queue), std::move(options));
}

Consumer::~Consumer() {
  if (!impl_) return;
  try {
    impl_->stop();
  } catch (...) {  // a handler that still runs is left to its thread
  }
}

Consumer::Consumer(Consumer&&) noexcept = default;

Consumer& Consumer::operator=(Consumer&& other) noexcept {
  if (this != &other) {
    Consumer gone(std::move(*this));
    impl_ = std::move(other.impl_);
  }
  return *this;
}

void Consumer::run_handler(Handler handler, std::stop_token stop) {
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
  impl_->start(std::move(handler),
               [&] { on_stop.emplace(std::move(stop), [this] { impl_->request_stop(); }); });
  impl_->wait(std::nullopt);
}

void Consumer::start_handler(Handler handler) { impl_->start(std::move(handler)); }
void Consumer::wait() { impl_->wait(std::nullopt); }
bool Consumer::wait_for(std::chrono::milliseconds timeout) { return impl_->wait(Clock::now() + timeout); }
void Consumer::stop() { impl_->stop(); }
ConsumerStatus Consumer::status() const { return impl_->status(); }
const std::string& Consumer::queue() const noexcept { return impl_->queue; }

}  // namespace warren::inline v0
