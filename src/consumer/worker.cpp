#include "consumer/worker.hpp"

#include <fmt/format.h>

#include <string>
#include <thread>
#include <utility>

#include <warren/error.hpp>

#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "retry/read.hpp"

namespace warren::inline v0::consumer {
namespace {

// Names a delivery in a log line: by its message id, or else by its delivery tag.
std::string name_of(const Delivery& delivery) {
  const auto& id = delivery.properties().message_id;
  return id && !id->empty() ? "message " + excerpt(*id) : fmt::format("delivery {}", delivery.delivery_tag());
}

}  // namespace

void Worker::work() noexcept {
  common_.become_worker();
  engine::Subscription::ContentPtr content;
  while (subscription_.take(content)) {
    ++common_.handlers;
    try {
      handle(*content);
    } catch (...) {  // an error of warren's own, or no memory: never silent
      subscription_.end(std::current_exception());
    }
    // Otherwise the memory of the body could not be reused without a copy.
    if (handler_.takes_delivery()) engine::DeliveryAccess::drop_body(content->delivery);
    --common_.handlers;
  }
}

void Worker::handle(engine::Content& content) {
  Delivery& delivery = content.delivery;
  if (!content.fault.empty()) {
    const auto error = std::make_exception_ptr(Undecodable("the properties can't be read: " + content.fault));
    return settler_.fail(delivery, retry::describe(error, 0), error);
  }
  if (!common_.guard) return run_handler(delivery);
  if (!admit(delivery)) return;
  const auto slot = slots_.enter(role_ == Role::suspects);
  if (subscription_.is_ending()) return settler_.give_back(delivery);
  if (role_ == Role::suspects) CrashGuard::restore(delivery);
  run_handler(delivery);
}

// Returns whether the handler may start. If not, the message has been sent elsewhere and settled.
bool Worker::admit(Delivery& delivery) {
  CrashGuard& guard = *common_.guard;
  if (role_ == Role::own) {
    if (!delivery.redelivered()) return true;
    settler_.pass_on(delivery, guard.suspect(delivery), &common_.suspected);
    return false;
  }
  switch (guard.step(delivery)) {
    case CrashGuard::Step::handle:
      return true;
    case CrashGuard::Step::record:
      settler_.pass_on(delivery, guard.record(delivery), nullptr);
      return false;
    default:
      const retry::Failure crash = CrashGuard::crash(delivery);
      CrashGuard::restore(delivery);
      settler_.send_copy(delivery, crash);
      return false;
  }
}

// Prepares a copy for the handler: restores the address of the original, and waits for the rest of the delay.
void Worker::prepare(Delivery& delivery) const {
  const RetryPolicy::Shape shape = common_.options.retry.shape();
  if (shape == RetryPolicy::Shape::none) return;
  if (auto origin = retry::original_address(delivery.headers())) {
    engine::DeliveryAccess::address(delivery, std::move(origin->exchange), std::move(origin->routing_key));
  }
  if (shape != RetryPolicy::Shape::delayed) return;
  const auto left = retry::left_of_delay(delivery.headers(), std::chrono::system_clock::now());
  if (left.count() > 0) std::this_thread::sleep_for(left);
}

void Worker::run_handler(Delivery& delivery) {
  prepare(delivery);
  std::optional<std::chrono::system_clock::time_point> first_failure;
  for (std::uint32_t runs = 1;;) {
    Attempt attempt = run_once(delivery, runs - 1);
    if (!attempt.failed()) {
      if (!runs_again_on_stream(delivery, attempt)) return;
      continue;  // the next run counts as this attempt
    }
    retry::Failure failure = failure_of(attempt, runs);
    if (apply_rules(attempt, failure) == FailureDecision::Action::ignore) {
      return settler_.ignore(delivery, failure);
    }
    if (retry::is_worth_another_try(failure.reason)) judge(true, attempt.epoch);
    const auto now = std::chrono::system_clock::now();
    if (!first_failure) first_failure = now;
    failure.first_at = first_failure;
    const bool again = !subscription_.is_ending() &&
                       retry::run_again_in_place(common_.options.retry, delivery, failure, now);
    if (!again) return settler_.fail(delivery, failure, attempt.error);
    ++runs;
  }
}

// Only exceptions of the handler go into the attempt. An error of warren's own is not the message's failure.
Worker::Attempt Worker::run_once(Delivery& delivery, std::uint32_t runs_before) {
  Attempt attempt{.epoch = common_.breaker ? common_.breaker->epoch() : 0};
  engine::DeliveryAccess::runs_before(delivery, runs_before);
  // A handler that may keep the delivery gets its own. The body is shared, because a failure needs it for the
  // copy.
  std::optional<Delivery> own;
  if (handler_.takes_delivery()) {
    engine::DeliveryAccess::share_body(delivery);
    own.emplace(delivery);
  }
  const HandlerWatch::Run watched(common_.watch,
                                  common_.options.handler_timeout ? name_of(delivery) : std::string());
  try {
    attempt.outcome = handler_(own ? *own : delivery);
  } catch (...) {
    attempt.error = std::current_exception();
  }
  attempt.late = watched.is_late();
  return attempt;
}

// Called if the handler did not fail. Returns true if the handler must run again, because a stream can't
// requeue a message. Otherwise settles the delivery and returns false.
bool Worker::runs_again_on_stream(const Delivery& delivery, const Attempt& attempt) {
  const bool requeued = attempt.outcome == Outcome::requeue;
  judge(requeued, attempt.epoch);
  if (!requeued || !subscription_.is_stream()) {
    settler_.settle(delivery, *attempt.outcome);
    return false;
  }
  if (!subscription_.is_unsettled(delivery)) return false;
  if (subscription_.wait_to_run_again(delivery)) return true;
  settler_.count(subscription_.can_settle(delivery), nullptr);
  return false;
}

retry::Failure Worker::failure_of(Attempt& attempt, std::uint32_t runs) {
  const bool parks = attempt.outcome == Outcome::park;
  if (parks) attempt.error = std::make_exception_ptr(Park("the handler returned Outcome::park"));
  retry::Failure failure = retry::describe(attempt.error, runs);
  if (!attempt.error) failure.error_message = "the handler returned Outcome::retry";
  if (parks) failure.error_type.clear();
  return failure;
}

// Applies FailureRules and handler_timeout to a failure.
FailureDecision::Action Worker::apply_rules(const Attempt& attempt, retry::Failure& failure) noexcept {
  FailureDecision decision;
  if (attempt.error && failure.reason == retry::Reason::exception) {
    decision = decide(attempt.error);
    if (decision.action == FailureDecision::Action::park) failure.reason = retry::Reason::rejected;
    failure.delay = decision.delay;
  }
  if (attempt.late && failure.reason == retry::Reason::exception) failure.reason = retry::Reason::timeout;
  return decision.action;
}

FailureDecision Worker::decide(const std::exception_ptr& error) noexcept {
  try {
    return common_.options.failures.decide(error).value_or(FailureDecision{});
  } catch (const std::exception& thrown) {
    common_.log(LogLevel::error, [&] {
      return fmt::format("the function that classifies failures of \"{}\" threw: {}", common_.current_queue(),
                         excerpt(thrown.what()));
    });
  } catch (...) {
    common_.log(LogLevel::error, [&] {
      return fmt::format("the function that classifies failures of \"{}\" threw", common_.current_queue());
    });
  }
  return {};
}

// Tells the circuit breaker how a handler that began in `epoch` ended. It is not told while the run ends,
// because no further handler starts.
void Worker::judge(bool failed, std::uint64_t epoch) {
  if (!common_.breaker || subscription_.is_ending()) return;
  if (common_.breaker->record(failed, epoch, std::chrono::steady_clock::now())) hold_();
}

}  // namespace warren::inline v0::consumer
