#include <warren/consumer.hpp>

#include <fmt/format.h>

#include <utility>

#include <warren/connection.hpp>
#include <warren/error.hpp>

#include "consumer_impl.hpp"
#include "engine/deadline.hpp"
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
  if (options.queue_wait < 0ms) wire::refuse(operation, "queue_wait is negative");
  if (options.handler_timeout && *options.handler_timeout <= 0ms)
    wire::refuse(operation, "handler_timeout is not above 0");
  if (const auto& breaker = options.circuit_breaker) {
    if (!(breaker->failure_share > 0 && breaker->failure_share <= 1))
      wire::refuse(operation, "the circuit breaker's failure_share is not above 0, to 1");
    if (breaker->window == 0) wire::refuse(operation, "the circuit breaker's window is 0");
    if (breaker->pause <= 0ms) wire::refuse(operation, "the circuit breaker's pause is not above 0");
  }
  if (!options.crash_guard) return;
  const std::string suspects = retry::suspect_queue(queue, *options.crash_guard);
  wire::check_short_string(suspects, operation, "the suspect queue's name");
  if (options.crash_guard->limit == 0) wire::refuse(operation, "the crash guard's limit is 0");
  if (options.retry.shape() == RetryPolicy::Shape::none)
    wire::refuse(operation, "a crash guard needs a retry policy, which says where to park");
  if (options.ack_mode == AckMode::manual)
    wire::refuse(operation, "a crash guard can't tell when a handler has ended that acknowledges by itself");
  if (suspects == queue) wire::refuse(operation, "the suspect queue is the consumer's own");
  for (const RetryQueue& other : options.retry.topology(queue).queues) {
    if (suspects == other.name) wire::refuse(operation, "the suspect queue is one of the retry policy's");
  }
}

// What the guard needs beside the policy's queues. The priority is for messages whose start is written down.
RetryTopology guard_topology(const std::string& queue, const ConsumerOptions& options) {
  const std::string suspects = retry::suspect_queue(queue, *options.crash_guard);
  const std::string& exchange = options.retry.options().exchange;
  RetryTopology topology{
      .exchange = exchange,
      .queues = {{suspects, {.max_priority = std::uint8_t{1}, .arguments = {{"x-queue-type", "classic"}}}}}};
  if (!exchange.empty()) topology.bindings = {suspects, queue};
  return topology;
}

engine::SubscriptionOptions subscription_options(const std::string& queue, const ConsumerOptions& options) {
  engine::SubscriptionOptions subscription{
      .queue = queue,
      .consumer_tag = options.consumer_tag,
      .prefetch = options.prefetch,
      .exclusive = options.exclusive,
      .arguments = options.arguments,
      .queue_wait = options.queue_wait,
      .unsettled_on_stream = options.ack_mode == AckMode::manual
                                 ? engine::StreamPosition::Unsettled::comes_again
                                 : engine::StreamPosition::Unsettled::kept};
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

}  // namespace

Consumer::Impl::Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
    : connection(std::move(core)),
      queue(std::move(name)),
      options(std::move(wanted)),
      republisher([this] { return open_publishing(*connection); }, options.retry, queue,
                  [this](LogLevel level, const std::string& text) { connection->events().log(level, text); }),
      watch(options.handler_timeout, [this](const std::string& what) {
        log(LogLevel::warning, fmt::format("a handler of \"{}\" runs for longer than {} ms: {}", queue,
                                           options.handler_timeout->count(), what));
      }) {
  if (options.circuit_breaker) breaker.emplace(*options.circuit_breaker);
  if (options.crash_guard) guard.emplace(queue, *options.crash_guard, retry::random_uuid());
}

void Consumer::Impl::start(Handler handler, const std::function<void()>& begun) {
  const auto run = std::make_shared<Subscription>(connection, subscription_options(queue, options));
  const auto beside = guard ? std::make_shared<Subscription>(
                                  connection, engine::SubscriptionOptions{.queue = guard->suspect_queue(),
                                                                          .prefetch = 1,
                                                                          .queue_wait = options.queue_wait})
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
    if (breaker) breaker->reset();
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

// Of a subscription that no worker takes from.
void Consumer::Impl::end(Subscription& run) noexcept {
  run.cancel(connection->operation_deadline());
  run.close(connection->operation_deadline());
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
  tell_overrun();
  return true;
}

// Once. With the lock held.
void Consumer::Impl::tell_overrun() {
  if (!std::exchange(overran, false)) return;
  throw TimeoutError({.operation = fmt::format("stop the consumer of \"{}\"", queue),
                      .text = "a handler still runs; its message goes back to the queue"});
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
  tell_overrun();
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
bool Consumer::wait_for(std::chrono::milliseconds timeout) {
  return impl_->wait(engine::deadline_after(timeout));
}
void Consumer::stop() { impl_->stop(); }
ConsumerStatus Consumer::status() const { return impl_->status(); }
const std::string& Consumer::queue() const noexcept { return impl_->queue; }

}  // namespace warren::inline v0
