#include "consumer/settler.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <utility>

#include <warren/error.hpp>

#include "engine/system.hpp"
#include "retry/headers.hpp"
#include "retry/text.hpp"

namespace warren::inline v0::consumer {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

std::string excerpt(const std::string& text) { return retry::to_utf8(text, 200); }

void Settler::settle(const Delivery& delivery, Outcome outcome) {
  if (outcome != Outcome::ack && role_ == Role::suspects) {  // the outcome is for the consumer's own queue
    return pass_on(delivery, common_.guard->clear(delivery), nullptr);
  }
  switch (outcome) {
    case Outcome::requeue:
      return count(subscription_.refuse(delivery, Requeue::yes), nullptr);
    case Outcome::dead_letter:
      if (subscription_.is_stream()) {
        common_.log(LogLevel::warning, [&] {
          return fmt::format("consumer of \"{}\": a stream can't dead-letter a message; it is acknowledged",
                             common_.current_queue());
        });
      }
      return count(subscription_.refuse(delivery, Requeue::no), nullptr);
    default:
      if (common_.options.ack_mode == AckMode::after_handler)
        count(subscription_.acknowledge(delivery), &common_.acked);
  }
}

// Requeues a delivery whose handler did not start. The recorded start of a suspect is taken back.
void Settler::give_back(const Delivery& delivery) {
  if (role_ == Role::suspects) {
    const auto until = Clock::now() + 2s;
    if (common_.republisher.send(common_.guard->take_back(delivery),
                                 [until] { return Clock::now() > until; })) {
      return count(subscription_.acknowledge(delivery), nullptr);
    }
  }
  subscription_.give_back(delivery);
}

void Settler::ignore(const Delivery& delivery, const retry::Failure& failure) {
  common_.log(LogLevel::info, [&] {
    return fmt::format("a message of \"{}\" failed, which is ignored: {}", common_.current_queue(),
                       excerpt(failure.error_message));
  });
  count(true, &common_.ignored);
  if (common_.options.ack_mode == AckMode::manual && !subscription_.is_unsettled(delivery)) return;
  count(subscription_.acknowledge(delivery), &common_.acked);
}

void Settler::fail(const Delivery& delivery, const retry::Failure& failure, const std::exception_ptr& error) {
  const bool settled_by_handler =
      common_.options.ack_mode == AckMode::manual && !subscription_.is_unsettled(delivery);
  if (common_.options.retry.shape() == RetryPolicy::Shape::none) {
    subscription_.end(
        error ? error
              : std::make_exception_ptr(
                    Error({.operation = fmt::format("handle a message of \"{}\"", common_.current_queue()),
                           .text = failure.error_message + ", and there is no retry policy"})));
    if (!settled_by_handler) subscription_.refuse(delivery, Requeue::yes);
  } else if (settled_by_handler) {
    common_.log(LogLevel::warning, [&] {
      return fmt::format("a handler failed after it had settled its message: {}",
                         excerpt(failure.error_message));
    });
  } else {
    send_copy(delivery, failure);
  }
}

void Settler::send_copy(const Delivery& delivery, const retry::Failure& failure) {
  retry::Copy copy = retry::make_copy(common_.options.retry, common_.queue, delivery, failure,
                                      std::chrono::system_clock::now(), engine::host_name());
  if (copy.reason == retry::Reason::crash)
    copy.message.properties().headers.set(retry::header::crash_count, std::int64_t{failure.runs});
  const bool sent = transfer(delivery, copy);
  // The log line follows the confirm, so that it is true.
  common_.log(sent && !copy.parked ? LogLevel::info : LogLevel::warning, [&] {
    const std::string what = fmt::format("a message of \"{}\" failed ({})", common_.current_queue(),
                                         retry::to_string(copy.reason));
    const std::string why = excerpt(failure.error_message);
    return sent ? fmt::format("{}, and went to \"{}\": {}", what, copy.queue, why)
                : fmt::format("{}, and its copy to \"{}\" was not confirmed: it comes again: {}", what,
                              copy.queue, why);
  });
  settle_original(delivery, sent, copy.parked ? &common_.parked : &common_.retried);
}

void Settler::pass_on(const Delivery& delivery, retry::Copy copy, Common::Counter* counter) {
  const bool sent = transfer(delivery, copy);
  if (sent && copy.parked) {
    common_.log(LogLevel::warning, [&] {
      return fmt::format(
          "a message of \"{}\" has no room for what the crash guard writes down, and was parked in \"{}\"",
          common_.current_queue(), copy.queue);
    });
    counter = &common_.parked;
  }
  settle_original(delivery, sent, counter);
}

// Returns whether the copy is confirmed.
bool Settler::transfer(const Delivery& delivery, retry::Copy& copy) {
  copy.park_in = common_.options.retry.parked_queue(common_.queue);
  // If the original will be redelivered, its copy would be a duplicate.
  return common_.republisher.send(
      copy, [&] { return subscription_.is_ending() || !subscription_.can_settle(delivery); });
}

void Settler::settle_original(const Delivery& delivery, bool sent, Common::Counter* counter) {
  if (!sent) return count(subscription_.give_back(delivery), nullptr);
  count(subscription_.acknowledge(delivery), counter);
}

void Settler::count(bool settled, Common::Counter* counter) noexcept {
  if (!settled) counter = &common_.stale;
  if (counter != nullptr) counter->fetch_add(1, std::memory_order_relaxed);
}

}  // namespace warren::inline v0::consumer
