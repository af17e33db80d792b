#include <fmt/format.h>

#include <thread>
#include <utility>

#include <warren/error.hpp>

#include "consumer/consumer_impl.hpp"
#include "engine/delivery_access.hpp"
#include "engine/system.hpp"
#include "retry/headers.hpp"
#include "retry/read.hpp"
#include "retry/text.hpp"

// A run of a consumer: its threads, from the subscription to the settled message.

namespace warren::inline v0 {
namespace {

using namespace std::chrono_literals;

// As much of an error's text as belongs into a log.
std::string excerpt(const std::string& text) { return retry::to_utf8(text, 200); }

// For a log: the message id, where it has one.
std::string name_of(const Delivery& delivery) {
  const auto& id = delivery.properties().message_id;
  return id && !id->empty() ? "message " + excerpt(*id) : fmt::format("delivery {}", delivery.delivery_tag());
}

}  // namespace

// False if a stop gave up waiting for the broker's answers meanwhile.
// All that the run ever needs: with a message in hand, there may be no thread to be had.
bool Consumer::Impl::start_threads(const RunPtr& run, const RunPtr& beside, const ThreadPtr& watcher,
                                   Handler handler) {
  const auto self = shared_from_this();
  const auto shared = std::make_shared<const Handler>(std::move(handler));
  // The run's own: a handler that a drain left behind keeps its slot.
  const auto slots = std::make_shared<consumer::HandlerSlots>(options.concurrency);
  if (options.on_end) connection->events().start();
  watch.start();
  const std::lock_guard lock(mutex);
  if (!is_current(*run)) return false;
  workers.reserve(workers.size() + options.concurrency + 1);  // else a thread that was started could be lost
  for (std::size_t i = 0; i < options.concurrency; ++i) {
    workers.push_back(engine::start_user_thread(
        "warren-worker", [self, run, shared, slots] { self->work(run, *shared, *slots); }));
    ++live_workers;
  }
  if (beside) {
    workers.push_back(engine::start_user_thread(
        "warren-suspects", [self, beside, shared, slots] { self->work(beside, *shared, *slots); }));
    ++live_workers;
    *watcher = engine::start_thread("warren-guard", [this, run, beside] {
      see_to_end(beside);
      run->end(beside->reason());
    });
  }
  supervisor = engine::start_thread("warren-consumer",
                                    [self, run, beside, watcher] { self->supervise(run, beside, *watcher); });
  return true;
}

// `watcher` sees to the end of `beside`.
void Consumer::Impl::supervise(const RunPtr& run, const RunPtr& beside, std::thread& watcher) noexcept {
  see_to_end(run);
  if (beside) beside->end(nullptr);
  if (watcher.joinable()) watcher.join();
  republisher.wake();
  drain(*run, beside.get());
  const std::lock_guard lock(mutex);
  if (is_current(*run)) over();
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
      republisher.wake();  // a copy that is held is not to be sent any more
      restore(*run);
    }
    if (breaker) heed_breaker(*run, heeded);
  }
}

// Makes of the subscription what the breaker says; `heeded` is what it is made for. A channel that is lost
// meanwhile is opened again as what it should be by then.
void Consumer::Impl::heed_breaker(Subscription& run, CircuitState& heeded) noexcept {
  // Not before the open one was heeded: a try that failed, and whose pause is over, would look like one that
  // is still to come.
  if (heeded == CircuitState::open) breaker->probe(Clock::now());
  const CircuitState state = breaker->state();
  const bool of_suspects = is_suspects(run);
  // Also where it is not yet what was heeded: a link was lost over it, or somebody held it late.
  if (state == heeded && run.is_paused() == (state == CircuitState::open)) return;
  const bool changes = std::exchange(heeded, state) != state;
  try {
    if (changes && !of_suspects) tell_circuit(state);
    run.pause();
    if (state == CircuitState::open) return;
    if (of_suspects) guard->subscribing();
    run.resume(state == CircuitState::closed && !of_suspects ? options.prefetch : std::uint16_t{1});
  } catch (const TimeoutError& error) {
    connection->drop(error.what());
  } catch (const std::bad_alloc&) {
    run.lack_memory();
  } catch (const Error&) {  // the channel was lost over it, or the run ended
    if (connection->has_ended()) run.end(std::current_exception());
  } catch (...) {
    run.end(std::current_exception());
  }
}

void Consumer::Impl::tell_circuit(CircuitState state) noexcept {
  switch (state) {
    case CircuitState::open:
      return log(LogLevel::warning, [&] {
        return fmt::format("the handlers of \"{}\" fail: paused for {} ms", queue,
                           options.circuit_breaker->pause.count());
      });
    case CircuitState::half_open:
      return log(LogLevel::info, [&] { return fmt::format("one message of \"{}\" is tried", queue); });
    case CircuitState::closed:
      return log(LogLevel::info, [&] { return fmt::format("the handlers of \"{}\" succeed again", queue); });
  }
}

// What the end of a handler that began in `epoch` says of those to come.
void Consumer::Impl::judge(bool failed, std::uint64_t epoch) {
  if (!breaker || !breaker->record(failed, epoch, Clock::now())) return;
  const std::lock_guard lock(mutex);
  current->hold();
  if (suspects) suspects->hold();
}

// After its channel was lost, or the broker cancelled it (https://www.rabbitmq.com/docs/consumer-cancel).
void Consumer::Impl::restore(Subscription& run) noexcept {
  try {
    run.open_again();
    if (run.is_ending()) return;
    log(LogLevel::info, [&] {
      return run.is_subscribed() ? fmt::format("subscribed to \"{}\" again", run.queue())
                                 : fmt::format("the subscription to \"{}\" stays paused", run.queue());
    });
  } catch (const std::bad_alloc&) {
    run.lack_memory();  // and the caller, which finds it lost, tries again
  } catch (const ConnectionError&) {
    if (connection->has_ended()) run.end(std::current_exception());
  } catch (...) {
    run.end(std::current_exception());  // where the channel was closed over it, that is the reason already
  }
}

void Consumer::Impl::work(const RunPtr& run, const Handler& handler, consumer::HandlerSlots& slots) noexcept {
  become_worker();
  Subscription::ContentPtr content;
  while (run->take(content)) {
    ++handlers;
    try {
      handle(*run, *content, handler, slots);
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

void Consumer::Impl::handle(Subscription& run, engine::Content& content, const Handler& handler,
                            consumer::HandlerSlots& slots) {
  Delivery& delivery = content.delivery;
  if (!content.fault.empty()) {
    const auto error = std::make_exception_ptr(Undecodable("the properties can't be read: " + content.fault));
    return fail(run, delivery, retry::describe(error, 0), error);
  }
  if (!guard) return run_handler(run, delivery, handler);
  if (!admit(run, delivery)) return;
  const auto slot = slots.enter(is_suspects(run));
  if (run.is_ending()) return give_back(run, delivery);
  if (is_suspects(run)) consumer::CrashGuard::restore(delivery);
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
    case consumer::CrashGuard::Step::handle:
      return true;
    case consumer::CrashGuard::Step::record:
      pass_on(run, delivery, guard->record(delivery), nullptr);
      return false;
    default:
      const retry::Failure crash = consumer::CrashGuard::crash(delivery);
      consumer::CrashGuard::restore(delivery);
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
  run.give_back(delivery);
}

void Consumer::Impl::run_handler(Subscription& run, Delivery& delivery, const Handler& handler) {
  if (options.retry.shape() != RetryPolicy::Shape::none) {
    if (auto origin = retry::original_address(delivery.headers())) {
      engine::DeliveryAccess::address(delivery, std::move(origin->exchange), std::move(origin->routing_key));
    }
  }
  if (options.retry.shape() == RetryPolicy::Shape::delayed) {
    const auto left = retry::left_of_delay(delivery.headers(), std::chrono::system_clock::now());
    if (left.count() > 0) std::this_thread::sleep_for(left);
  }
  std::optional<std::chrono::system_clock::time_point> first_failure;
  for (std::uint32_t runs = 1;; ++runs) {
    std::exception_ptr error;
    std::optional<consumer::HandlerWatch::Run> watched;
    std::optional<Outcome> outcome;  // nothing: it threw
    const std::uint64_t epoch = breaker ? breaker->epoch() : 0;
    engine::DeliveryAccess::runs_before(delivery, runs - 1);
    watched.emplace(watch, options.handler_timeout ? name_of(delivery) : std::string());
    try {  // the handler alone: a fault of our own is not the message's
      outcome = handler(delivery);
    } catch (...) {
      error = std::current_exception();
    }
    if (outcome && *outcome != Outcome::park && *outcome != Outcome::retry) {
      judge(*outcome == Outcome::requeue, epoch);
      if (*outcome != Outcome::requeue || !run.is_stream()) return settle(run, delivery, *outcome);
      // It can't go back there: its handler runs again, as the same attempt.
      watched.reset();
      if (!run.is_unsettled(delivery)) return;
      if (!run.wait_to_run_again(delivery)) return count(run.can_settle(delivery), nullptr);
      --runs;
      continue;
    }
    const bool late = watched->is_late();
    watched.reset();
    const bool parks = outcome == Outcome::park;
    if (parks) error = std::make_exception_ptr(Park("the handler returned Outcome::park"));
    retry::Failure failure = retry::describe(error, runs);
    if (!error) failure.error_message = "the handler returned Outcome::retry";
    if (parks) failure.error_type.clear();
    if (error && failure.reason == retry::Reason::exception) {
      const FailureDecision decision = decide(error);
      if (decision.action == FailureDecision::Action::ignore) {
        return ignore(run, delivery, failure);
      }
      if (decision.action == FailureDecision::Action::park) failure.reason = retry::Reason::rejected;
      failure.delay = decision.delay;
    }
    if (late && failure.reason == retry::Reason::exception) failure.reason = retry::Reason::timeout;
    if (retry::is_worth_another_try(failure.reason)) judge(true, epoch);
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
      if (run.is_stream()) {
        log(LogLevel::warning, [&] {
          return fmt::format("consumer of \"{}\": a stream can't dead-letter a message; it is acknowledged",
                             queue);
        });
      }
      return count(run.refuse(delivery, Requeue::no), nullptr);
    default:
      if (options.ack_mode == AckMode::after_handler) count(run.acknowledge(delivery), &acked);
  }
}

FailureDecision Consumer::Impl::decide(const std::exception_ptr& error) noexcept {
  try {
    return options.failures.decide(error).value_or(FailureDecision{});
  } catch (const std::exception& thrown) {
    log(LogLevel::error, [&] {
      return fmt::format("the function that classifies failures of \"{}\" threw: {}", queue,
                         excerpt(thrown.what()));
    });
  } catch (...) {
    log(LogLevel::error,
        [&] { return fmt::format("the function that classifies failures of \"{}\" threw", queue); });
  }
  return {};
}

void Consumer::Impl::ignore(Subscription& run, const Delivery& delivery, const retry::Failure& failure) {
  log(LogLevel::info, [&] {
    return fmt::format("a message of \"{}\" failed, which is ignored: {}", queue,
                       excerpt(failure.error_message));
  });
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
    log(LogLevel::warning, [&] {
      return fmt::format("a handler failed after it had settled its message: {}",
                         excerpt(failure.error_message));
    });
  } else {
    send_copy(run, delivery, failure);
  }
}

void Consumer::Impl::send_copy(Subscription& run, const Delivery& delivery, const retry::Failure& failure) {
  retry::Copy copy = retry::make_copy(options.retry, queue, delivery, failure,
                                      std::chrono::system_clock::now(), engine::host_name());
  if (copy.reason == retry::Reason::crash)
    copy.message.properties().headers.set(retry::header::crash_count, std::int64_t{failure.runs});
  const bool sent = transfer(run, delivery, copy);
  // Said only once it is true.
  log(sent && !copy.parked ? LogLevel::info : LogLevel::warning, [&] {
    const std::string what =
        fmt::format("a message of \"{}\" failed ({})", queue, retry::to_string(copy.reason));
    const std::string why = excerpt(failure.error_message);
    return sent ? fmt::format("{}, and went to \"{}\": {}", what, copy.queue, why)
                : fmt::format("{}, and its copy to \"{}\" was not confirmed: it comes again: {}", what,
                              copy.queue, why);
  });
  settle_original(run, delivery, sent, copy.parked ? &parked : &retried);
}

void Consumer::Impl::pass_on(Subscription& run, const Delivery& delivery, retry::Copy copy,
                             Counter* counter) {
  const bool sent = transfer(run, delivery, copy);
  if (sent && copy.parked) {
    log(LogLevel::warning, [&] {
      return fmt::format(
          "a message of \"{}\" has no room for what the crash guard writes down, and was parked in \"{}\"",
          queue, copy.queue);
    });
    counter = &parked;
  }
  settle_original(run, delivery, sent, counter);
}

// Whether the copy is confirmed.
bool Consumer::Impl::transfer(Subscription& run, const Delivery& delivery, retry::Copy& copy) {
  copy.park_in = options.retry.parked_queue(queue);
  // A copy beside an original that comes again would be a duplicate.
  return republisher.send(copy, [&] { return run.is_ending() || !run.can_settle(delivery); });
}

void Consumer::Impl::settle_original(Subscription& run, const Delivery& delivery, bool sent,
                                     Counter* counter) {
  if (!sent) return count(run.give_back(delivery), nullptr);
  count(run.acknowledge(delivery), counter);
}

void Consumer::Impl::count(bool settled, Counter* counter) noexcept {
  if (!settled) counter = &stale;
  if (counter != nullptr) counter->fetch_add(1, std::memory_order_relaxed);
}

}  // namespace warren::inline v0
