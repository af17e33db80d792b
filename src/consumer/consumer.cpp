#include <warren/consumer.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include <warren/connection.hpp>
#include <warren/error.hpp>
#include <warren/queue.hpp>

#include "consumer/consumer_impl.hpp"
#include "consumer/stop_times.hpp"
#include "engine/arguments.hpp"
#include "engine/deadline.hpp"
#include "engine/queue_facts.hpp"
#include "engine/system.hpp"
#include "retry/topology.hpp"
#include "values/handle.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

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

// Refuses options that would publish copies to a stream, because every reader would get each copy.
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

// The topology that the crash guard needs in addition to the policy's. The suspect queue has priorities for
// messages whose start is recorded.
RetryTopology guard_topology(const std::string& queue, const ConsumerOptions& options) {
  const std::string suspects = consumer::suspect_queue(queue, *options.crash_guard);
  const std::string& exchange = options.retry.options().exchange;
  RetryTopology topology{
      .exchange = exchange,
      .queues = {{suspects, {.type = QueueType::classic, .max_priority = std::uint8_t{1}}}}};
  if (!exchange.empty()) topology.bindings = {suspects, queue};
  return topology;
}

}  // namespace

Consumer::Impl::Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
    : common(engine::make_at_home<consumer::Common>(std::move(core), std::move(name), std::move(wanted))) {}

Consumer::Impl::RunPtr Consumer::Impl::start(Handler handler,
                                             const std::function<void(const RunPtr&)>& begun) {
  common->refuse_in_handler("start");
  const auto run = engine::make_at_home<consumer::Run>(common, std::move(handler));
  RunPtr ended;
  {
    const std::lock_guard lock(mutex);
    if (current && current->is_running()) wire::refuse_misuse("start", "the consumer runs already");
    if (current) {
      if (auto call = current->end_call()) earlier_end_call = std::move(call);
    }
    ended = std::exchange(current, run);
    if (common->breaker) common->breaker->reset();
  }
  if (ended) ended->join();
  run->begin([&] {
    if (begun) begun(run);
  });
  return run;
}

Consumer::Impl::RunPtr Consumer::Impl::latest() const {
  const std::lock_guard lock(mutex);
  return current;
}

bool Consumer::Impl::wait(Clock::time_point deadline) {
  common->refuse_in_handler("wait");
  const RunPtr run = latest();
  return run == nullptr || run->wait(deadline);
}

void Consumer::Impl::request_stop() noexcept {
  if (const RunPtr run = latest()) run->request_stop();
}

void Consumer::Impl::stop() {
  common->refuse_in_handler("stop");
  if (const RunPtr run = latest()) run->stop();
}

void Consumer::Impl::shut_down() noexcept {
  const RunPtr run = latest();
  if (!run) return;
  if (common->in_handler()) {
    run->request_stop();
    run->leave_alone();
    if (const auto call = take_end_call()) call->await(Clock::now());
    return;
  }
  const auto leave_by = consumer::stop_times(common->options, Clock::now()).leave_by;
  try {
    run->stop();
  } catch (...) {  // a handler that still runs stays on its thread
  }
  if (const auto call = take_end_call())
    call->await(common->connection->events().is_own_thread() ? Clock::now() : leave_by);
}

// Takes the latest call of on_end that was handed to the thread for events. That thread runs the calls one
// after the other.
std::shared_ptr<consumer::EndCall> Consumer::Impl::take_end_call() {
  const std::lock_guard lock(mutex);
  auto call = current->end_call();
  return call ? call : std::exchange(earlier_end_call, nullptr);
}

ConsumerStatus Consumer::Impl::status() const {
  const RunPtr run = latest();
  return {.subscribed = run && run->subscription().is_subscribed(),
          .waiting = run ? run->subscription().waiting() : 0,
          .running = common->handlers,
          .acked = common->acked,
          .retried = common->retried,
          .parked = common->parked,
          .stale = common->stale,
          .ignored = common->ignored,
          .overdue = common->watch.late(),
          .suspected = common->suspected,
          .circuit = common->breaker ? common->breaker->state() : CircuitState::closed};
}

Consumer::Consumer(Connection& connection, std::string_view name, ConsumerOptions options) {
  std::string queue(name);
  check(queue, options);
  (void)use(connection.core_, "Connection", "basic.consume");
  check_stream(connection.core_, queue, options);
  options.retry.declare(connection, queue);
  if (options.crash_guard) retry::declare(connection, guard_topology(queue, options));
  impl_ = engine::make_at_home<Impl>(connection.core_, std::move(queue), std::move(options));
}

Consumer::Consumer(Connection& connection, const Queue& queue, ConsumerOptions options)
    : Consumer(connection, std::string_view(queue.name()), std::move(options)) {}

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

void Consumer::run(Handler handler, std::stop_token stop) {
  (void)use(impl_, class_name, "run");
  const auto impl = impl_;  // a handler may destroy the consumer
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
  const auto run = impl->start(std::move(handler), [&](const Impl::RunPtr& begun) {
    on_stop.emplace(std::move(stop), [begun] { begun->request_stop(); });
  });
  run->wait(Clock::time_point::max());
}

void Consumer::start(Handler handler) { use(impl_, class_name, "start").start(std::move(handler)); }
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

std::string Consumer::queue() const {
  if (!impl_) return {};
  // In a child of fork() the lock of the names may never be released.
  const consumer::Common& common = *impl_->common;
  return common.process().seems_left() ? common.queue : common.current_queue();
}

}  // namespace warren::inline v0
