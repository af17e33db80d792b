#include <warren/consumer.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include <warren/connection.hpp>
#include <warren/error.hpp>

#include "consumer/consumer_impl.hpp"
#include "engine/arguments.hpp"
#include "engine/deadline.hpp"
#include "engine/queue_facts.hpp"
#include "engine/system.hpp"
#include "retry/text.hpp"
#include "retry/topology.hpp"
#include "values/handle.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

using engine::Subscription;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr const char* class_name = "Consumer";

void check(const std::string& queue, const ConsumerOptions& options) {
  constexpr const char* operation = "consumer options";
  if (queue.empty()) wire::refuse(operation, "the queue has no name");
  wire::check_short_string(queue, operation, "the queue's name");
  wire::check_short_string(options.consumer_tag, operation, "consumer_tag");
  engine::check_consumer_arguments(options.arguments);
  if (options.stream_match_unfiltered && options.stream_filter.empty())
    wire::refuse(operation, "stream_match_unfiltered needs a stream_filter");
  if (options.prefetch == 0) wire::refuse(operation, "prefetch is 0, which would be without a limit");
  if (options.concurrency == 0) wire::refuse(operation, "concurrency is 0");
  if (options.drain_timeout < 0ms) wire::refuse(operation, "drain_timeout is negative");
  if (options.stop_within && *options.stop_within < 0ms) wire::refuse(operation, "stop_within is negative");
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
  const std::string suspects = consumer::suspect_queue(queue, *options.crash_guard);
  wire::check_short_string(suspects, operation, "the suspect queue's name");
  if (options.crash_guard->limit == 0) wire::refuse(operation, "the crash guard's limit is 0");
  if (options.retry.shape() == RetryPolicy::Shape::none)
    wire::refuse(operation, "a crash guard needs a retry policy, which says where to park");
  if (options.ack_mode == AckMode::manual)
    wire::refuse(operation, "a crash guard can't tell when a handler has ended that acknowledges by itself");
  if (suspects == queue) wire::refuse(operation, "the suspect queue is the consumer's own");
  if (suspects.starts_with("amq."))
    wire::refuse(operation,
                 "the broker keeps names that begin with \"amq.\" for itself: name the suspect queue");
  for (const RetryQueue& other : options.retry.topology(queue).queues) {
    if (suspects == other.name) wire::refuse(operation, "the suspect queue is one of the retry policy's");
  }
}

// A copy that comes back to a stream is appended to it, and every reader gets it.
void check_stream(const std::shared_ptr<engine::ConnectionCore>& connection, const std::string& queue,
                  const ConsumerOptions& options) {
  const auto name = [&](const std::string& named) { return connection->topology().current_name(named); };
  const RetryPolicy& policy = options.retry;
  const char* what = nullptr;
  if (policy.shape() == RetryPolicy::Shape::delayed) {
    what = "a delayed retry";
  } else if (policy.shape() == RetryPolicy::Shape::to_queue && name(policy.queue()) == name(queue)) {
    what = "a retry to its own queue";
  } else if (options.crash_guard) {
    what = "a crash guard";
  }
  if (what == nullptr) return;
  if (!options.arguments.contains("x-stream-offset") && !engine::is_stream(connection, queue)) return;
  wire::refuse("consumer options",
               fmt::format("\"{}\" is a stream, where {} would append a copy for every reader: use "
                           "RetryPolicy::immediate(), or to_queue() with another queue",
                           queue, what));
}

// What the guard needs beside the policy's queues. The priority is for messages whose start is written down.
RetryTopology guard_topology(const std::string& queue, const ConsumerOptions& options) {
  const std::string suspects = consumer::suspect_queue(queue, *options.crash_guard);
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
  if (!options.stream_filter.empty()) {
    subscription.arguments.set("x-stream-filter",
                               FieldArray(options.stream_filter.begin(), options.stream_filter.end()));
    subscription.arguments.set("x-stream-match-unfiltered", options.stream_match_unfiltered);
  }
  return subscription;
}

}  // namespace

Consumer::Impl::Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
    : connection(std::move(core)),
      queue(std::move(name)),
      options(std::move(wanted)),
      republisher(
          retry::PublishingConnection::of(connection),
          std::min(connection->options().close_timeout, closing_time() / 4), options.retry, queue,
          [this](LogLevel level, const std::string& text) { connection->events().log(level, text); },
          [this](const std::string& named) { return connection->topology().current_name(named); }),
      watch(options.handler_timeout, [this](const std::string& what) {
        log(LogLevel::warning, fmt::format("a handler of \"{}\" runs for longer than {} ms: {}", queue,
                                           options.handler_timeout->count(), what));
      }) {
  if (options.circuit_breaker) breaker.emplace(*options.circuit_breaker);
  if (options.crash_guard) guard.emplace(queue, *options.crash_guard, retry::random_uuid());
}

void Consumer::Impl::start(Handler handler, const std::function<void()>& begun) {
  refuse_in_handler("start");
  const auto run = std::make_shared<Subscription>(connection, subscription_options(queue, options));
  const auto beside = guard ? std::make_shared<Subscription>(
                                  connection, engine::SubscriptionOptions{.queue = guard->suspect_queue(),
                                                                          .prefetch = 1,
                                                                          .queue_wait = options.queue_wait})
                            : nullptr;
  const auto watcher = std::make_shared<std::thread>();
  std::thread ended;
  {
    const std::lock_guard lock(mutex);
    if (running) wire::refuse_misuse("start", "the consumer runs already");
    prepare_end_call();
    ended.swap(supervisor);
    current = run;
    suspects = beside;
    result = nullptr;
    cut = {};
    stopped_at.reset();
    ++run_number;
    running = true;
    if (breaker) breaker->reset();
  }
  if (ended.joinable()) ended.join();
  const auto not_begun = [&] {
    const std::lock_guard lock(mutex);
    if (!is_current(*run)) return;
    running = false;
    changed.notify_all();
  };
  try {
    if (begun) begun();
  } catch (...) {
    not_begun();
    throw;
  }
  if (run->is_ending()) return not_begun();
  try {
    open(run, beside);
  } catch (...) {
    not_begun();
    throw;
  }
  try {
    if (start_threads(run, beside, watcher, std::move(handler))) return;
    run->end(nullptr);  // a stop did not wait for this
    end(*run);
    if (beside) end(*beside);
  } catch (...) {  // no thread, no memory: what was begun is ended here, and wait() tells
    run->end(std::current_exception());
    supervise(run, beside, *watcher);
  }
}

void Consumer::Impl::open(const RunPtr& run, const RunPtr& beside) {
  run->open();
  if (!beside || run->is_ending()) return;
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
  (void)use(connection.core_, "Connection", "basic.consume");
  check_stream(connection.core_, queue, options);
  options.retry.declare(connection, queue);
  if (options.crash_guard) retry::declare(connection, guard_topology(queue, options));
  impl_ = engine::make_at_home<Impl>(connection.core_, std::move(queue), std::move(options));
}

Consumer::~Consumer() {
  if (is_to_close(impl_)) impl_->shut_down();
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
  (void)use(impl_, class_name, "run");
  const auto impl = impl_;  // the consumer may be destroyed by a handler
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
  impl->start(std::move(handler),
              [&] { on_stop.emplace(std::move(stop), [impl] { impl->request_stop(); }); });
  impl->wait(Clock::time_point::max());
}

void Consumer::start_handler(Handler handler) { use(impl_, class_name, "start").start(std::move(handler)); }
void Consumer::wait() { use(impl_, class_name, "wait").wait(Clock::time_point::max()); }
bool Consumer::wait_for(std::chrono::milliseconds timeout) {
  return use(impl_, class_name, "wait").wait(engine::deadline_after(timeout));
}
void Consumer::stop() {
  if (!impl_) refuse_moved_from(class_name, "stop");
  if (is_to_close(impl_)) impl_->stop();
}
void Consumer::request_stop() noexcept {
  if (is_to_close(impl_)) impl_->request_stop();
}
ConsumerStatus Consumer::status() const { return use(impl_, class_name, "status").status(); }
const std::string& Consumer::queue() const noexcept { return impl_ ? impl_->queue : no_name(); }

}  // namespace warren::inline v0
