// PublishWindow after its channel or its connection is lost: which publishes fail, and which are sent again.

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include <warren/reply_code.hpp>

#include "engine/no_memory.hpp"
#include "engine/publish_window.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {

void PublishWindow::lost() noexcept {
  const std::lock_guard lock(mutex_);
  step(PublisherEvent::connection_lost);
}

void PublishWindow::on_closed(const ErrorDetails& error) noexcept {
  const bool recovering = error.scope == ErrorScope::connection && connection_->is_recovering();
  Lock lock(mutex_);
  fence_ = draining_ = false;
  fences_ = 0;
  // The broker closed the channel because of one of the publishes, since the channel has no other purpose.
  const bool by_broker = error.scope == ErrorScope::channel && error.code != 0 && channel_ != nullptr;
  if (state_ == PublisherState::closed || !(recovering || by_broker)) {
    step(PublisherEvent::ended);
    take_outstanding();
    fail_outstanding(error);
  } else if (by_broker && tracker_.outstanding() == 0) {
    step(PublisherEvent::ended);
    fail_resend(error);  // the channel itself was refused
  } else {
    step(by_broker ? PublisherEvent::ended_by_broker : PublisherEvent::ended_by_loss);
    keep(error);
  }
  channel_.reset();
  if (!comes_by_itself(state_)) log_unseen(Clock::now());
  room_.notify_all();
  changed_.notify_all();
  if (open_publishes() == 0) idle_.notify_all();
  finish(lock);
}

// Empties the tracker. A returned message has its outcome, even though the ack that follows a return never
// arrived. A publish past its deadline has ended, since the broker cannot confirm it any more.
void PublishWindow::take_outstanding() noexcept {
  const auto now = Clock::now();
  expire(now);
  tracker_.reset([&](PublishSlot* slot) {
    if (slot->expired || slot->outcome == PublishOutcome::returned) {
      return settle(*slot, PublishOutcome::unknown, nullptr);
    }
    outstanding_.push_back(slot);
  });
}

// Puts the publishes that were in flight back to be sent again. Excluded are the cause of the close, and the
// publishes that OnLoss::fail ends.
void PublishWindow::keep(const ErrorDetails& error) noexcept {
  take_outstanding();
  if (options_.on_loss == OnLoss::fail) return fail_outstanding(error);
  blame(error);
  resend_.push_front(outstanding_);
  outstanding_.clear();
}

void PublishWindow::fail_outstanding(const ErrorDetails& error) noexcept {
  const bool by_broker = error.scope == ErrorScope::channel && error.code != 0;
  // A single message in flight is the one for which the broker closed the channel. Of several, it is the one
  // that publishes to the exchange that the broker names, if no other one does.
  const PublishSlot* culprit = nullptr;
  if (by_broker && outstanding_.size() == 1) {
    culprit = outstanding_.front();
  } else if (by_broker && error.code == reply_code::not_found) {
    const auto named = [&](const PublishSlot* slot) {
      return wire::is_named(exchange_of(slot->frames), error.text);
    };
    if (std::ranges::count_if(outstanding_, named) == 1) culprit = *std::ranges::find_if(outstanding_, named);
  }
  ErrorDetails innocent = kept(error);
  innocent.operation = operation;
  innocent.in_doubt = true;
  if (by_broker && outstanding_.size() > 1) {
    innocent.permanent = false;
    innocent.text = text_or_no_memory([&] {
      return fmt::format("the channel was closed over one of {} publishes in flight: {}", outstanding_.size(),
                         error.text);
    });
  } else if (error.code != 0 && outstanding_.size() > 1) {
    innocent.permanent = false;  // another publish may have caused the error
  }
  ErrorDetails guilty = kept(error);
  guilty.operation = operation;
  for (PublishSlot* slot : outstanding_) {
    const bool refused = slot == culprit && !slot->lost;
    guilty.in_doubt = !refused;
    settle(*slot, refused ? PublishOutcome::refused : PublishOutcome::unknown,
           slot == culprit ? &guilty : &innocent);
  }
  outstanding_.clear();
}

// Sends the messages that were in flight when the connection was lost, and those published since, before all
// later messages.
void PublishWindow::recover(Deadline deadline) {
  Lock lock(mutex_);
  // A caller that is opening a channel now either fails at once or has opened one.
  changed_.wait(lock, [&] { return !is_opening(state_); });
  std::exception_ptr failure;
  while (!channel_ && state_ != PublisherState::closed && !failure) {
    expire(Clock::now());
    if (resend_.empty()) {
      step(PublisherEvent::nothing_to_send);  // the next publish opens a channel
      break;
    }
    failure = open_for_recovery(lock, deadline);
  }
  room_.notify_all();
  changed_.notify_all();
  finish(lock);
  if (failure) std::rethrow_exception(failure);
}

// One attempt. Afterwards there may be no channel and no error, if the connection was lost during the
// attempt.
std::exception_ptr PublishWindow::open_for_recovery(Lock& lock, Deadline deadline) {
  step(PublisherEvent::recovery_begins);
  lock.unlock();
  std::shared_ptr<ChannelCore> channel;
  std::exception_ptr failure;
  std::optional<ErrorDetails> refused;
  try {
    channel = open_channel(deadline, ConnectionCore::Access::recovery);
  } catch (const ChannelError& error) {
    refused = kept(error.details());
    failure = std::current_exception();
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  if (refused) {
    step(PublisherEvent::refused);
    fail_resend(*refused);
  }
  if (!take(std::move(channel))) step(PublisherEvent::open_failed);
  changed_.notify_all();
  return failure;
}

// Called after the close-ok of a channel that the broker closed. The next channel is opened at once, without
// waiting.
void PublishWindow::on_forgotten() {
  Lock lock(mutex_);
  if (state_ != PublisherState::reopening) return;
  step(PublisherEvent::close_ok_sent);
  if (auto channel = connection_->start_channel(weak_from_this())) {
    use(std::move(channel));
    advance();
  }
  room_.notify_all();
  changed_.notify_all();
  finish(lock);
}

void PublishWindow::abandon(const ErrorDetails& error) noexcept {
  Lock lock(mutex_);
  step(PublisherEvent::connection_ended);
  fail_resend(error);
  log_unseen(Clock::now());
  room_.notify_all();
  changed_.notify_all();
}

void PublishWindow::fail_resend(const ErrorDetails& error) noexcept {
  ErrorDetails details = kept(error);
  details.operation = operation;
  while (!resend_.empty()) {
    PublishSlot& slot = *resend_.front();
    resend_.pop_front();
    details.in_doubt = slot.sent;
    settle(slot, PublishOutcome::unknown, &details);
  }
  if (open_publishes() == 0) idle_.notify_all();
}

// The error of a message that waits to be sent, or sent again, when its deadline passes.
ErrorDetails PublishWindow::expired_in_queue(const PublishSlot& slot) const noexcept {
  ErrorDetails details{.operation = operation, .in_doubt = slot.sent};
  const std::optional<ErrorDetails> cause = connection_->why_not_open();
  if (cause) {
    details.scope = ErrorScope::connection;
    details.code = cause->code;
  }
  details.text = text_or_no_memory([&] {
    return fmt::format("{} before its deadline{}{}",
                       slot.sent ? "the connection was lost, and it was not sent again" : "not sent",
                       cause ? ": " : "", cause ? Error(*cause).what() : "");
  });
  return details;
}

}  // namespace warren::inline v0::engine
