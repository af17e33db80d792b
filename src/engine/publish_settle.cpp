// PublishWindow: how publishes are settled, and how the waiting callers and callbacks are told.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "engine/no_memory.hpp"
#include "engine/publish_window.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto log_interval = 1s;  // between two log lines on failures that no caller saw

[[noreturn]] void throw_failure(PublishOutcome outcome, const ErrorDetails& error) {
  switch (outcome) {
    case PublishOutcome::nacked:
      throw NackedError(error);
    case PublishOutcome::returned:
      throw ReturnedError(error);
    default:
      if (error.scope == ErrorScope::connection) throw ConnectionError(error);
      if (error.scope == ErrorScope::operation) throw TimeoutError(error);
      throw ChannelError(error);
  }
}

// The error of a failed slot, for its caller.
ErrorDetails error_of(const PublishSlot& slot) noexcept {
  if (slot.error) return kept(*slot.error);
  return {.operation = "basic.publish", .text = no_memory, .in_doubt = slot.sent};
}

// Null if there is no memory for it: see error_of().
template <typename Make>
std::unique_ptr<ErrorDetails> try_to_keep(Make&& make) noexcept {
  try {
    return std::make_unique<ErrorDetails>(make());
  } catch (...) {
    return nullptr;
  }
}

}  // namespace

void PublishWindow::settle(PublishSlot& slot, PublishOutcome outcome, const ErrorDetails* error) noexcept {
  slot.in_window = false;
  bytes_ -= slot.frames.size();
  slot.frames.body.reset();
  if (slot.expired) {
    slot.expired = false;
    --expired_;
    // A late outcome replaces "unknown" if no caller was told of that yet.
    if (!slot.final && outcome != PublishOutcome::unknown && slot.outcome == PublishOutcome::unknown) {
      slot.outcome = PublishOutcome::pending;
      slot.error.reset();
    }
  }
  if (slot.outcome == PublishOutcome::pending) {  // else it was returned, and the ack adds nothing
    slot.outcome = outcome;
    if (error != nullptr) slot.error = try_to_keep([&] { return *error; });
  }
  if (slot.call) tell(slot);
  if (slot.waiting) slot.settled.notify_all();
  drop(slot);
}

// Has the callback called with the outcome, which is then final.
void PublishWindow::tell(PublishSlot& slot) noexcept {
  slot.seen = true;
  slot.final = true;
  slot.call->outcome = slot.outcome;
  if (has_failed(slot.outcome)) slot.call->error = error_of(slot);
  --untold_;
  slot.call.reset();  // `tell` owns the call now
  (void)connection_->events().call(std::exchange(slot.tell, nullptr));
}

void PublishWindow::on_settled(PublishSlot& slot,
                               std::function<void(PublishOutcome, const ErrorDetails*)> callback) {
  connection_->events().start();
  const auto call = std::make_shared<SettledCall>();
  call->callback = std::move(callback);
  call->window = shared_from_this();
  std::function<void()> tell_it = [call] {
    call->callback(call->outcome, call->error ? &*call->error : nullptr);
  };
  {
    const std::lock_guard lock(mutex_);
    if (slot.listened) {
      throw LogicError(
          {.operation = "on_settled", .text = "this publish has a callback already", .permanent = true});
    }
    if (slot.in_window) expire(Clock::now());
    if (slot.in_window && !slot.expired) {
      watch_deadlines(slot.deadline);
      slot.call = call;
      slot.tell = std::move(tell_it);
      slot.listened = true;
      ++untold_;
      return;
    }
    slot.listened = slot.seen = slot.final = true;
    call->outcome = slot.outcome;
    if (has_failed(slot.outcome)) call->error = error_of(slot);
  }
  if (connection_->events().call(tell_it)) return;
  try {
    tell_it();
  } catch (...) {  // dropped, as on the events' thread
  }
}

// Lets the events' thread end publishes at their deadline; called with the lock held. A publish with a
// callback may have no waiting thread, and there are no ticks while the connection is lost.
void PublishWindow::watch_deadlines(Deadline first) {
  if (first >= next_watch_) return;
  connection_->events().call_at(first, [weak = weak_from_this(), first] {
    const auto window = weak.lock();
    if (!window) return;
    const std::lock_guard lock(window->mutex_);
    if (window->next_watch_ != first) return;  // an earlier deadline was set since
    window->next_watch_ = Deadline::max();
    window->expire(Clock::now());
    if (window->untold_ != 0) window->watch_deadlines(window->next_expiry_);
  });
  next_watch_ = first;
}

bool PublishWindow::on_confirm(std::uint64_t tag, bool multiple, bool acknowledged) {
  // A thread that is woken while the lock is held blocks on it and sleeps again. So most threads are notified
  // after the lock is released. Slots live as long as the window. At worst, the waiter of another publish
  // wakes, and checks its own slot.
  std::array<PublishSlot*, 16> awaited;
  std::size_t count = 0;
  Lock lock(mutex_);
  std::optional<ErrorDetails> refused;
  if (!acknowledged) {
    refused = {
        .operation = operation, .text = "the broker refused the message (basic.nack)", .in_doubt = true};
  }
  const bool known = tracker_.settle(tag, multiple, [&](PublishSlot* slot) {
    if (slot->waiting && count < awaited.size()) {
      slot->waiting = false;  // notified below
      awaited[count++] = slot;
    }
    if (!missing_.empty()) std::erase(missing_, exchange_of(slot->frames));  // the exchange exists again
    settle(*slot, acknowledged ? PublishOutcome::confirmed : PublishOutcome::nacked,
           refused ? &*refused : nullptr);
  });
  // A publisher is woken at half a window, not at the first free slot: waking it for each message costs more.
  const bool room = takes_next(options_.window / 2, options_.window_bytes / 2);
  const bool idle = open_publishes() == 0;
  if ((fence_ || draining_) && tracker_.outstanding() == 0) pass();
  finish(lock);
  if (lock) lock.unlock();
  if (room) room_.notify_one();
  if (idle) idle_.notify_all();
  for (std::size_t i = 0; i < count; ++i) awaited[i]->settled.notify_all();
  return known;
}

void PublishWindow::on_return(ContentAssembler::ContentPtr content) {
  if (!content->stamp) return;
  const std::lock_guard lock(mutex_);
  PublishSlot* slot = tracker_.find([&](const PublishSlot* each) { return each->stamp == *content->stamp; });
  if (slot == nullptr) return;
  if (slot->outcome != PublishOutcome::pending && (!slot->expired || slot->final)) return;
  slot->outcome = PublishOutcome::returned;
  slot->error = try_to_keep([&] {
    return ErrorDetails{
        .operation = operation,
        .code = content->code,
        .text = fmt::format("{}: no queue is bound to exchange \"{}\" for routing key \"{}\"", content->text,
                            content->delivery.exchange(), content->delivery.routing_key()),
        .in_doubt = slot->resent};
  });
}

PublishOutcome PublishWindow::outcome(PublishSlot& slot) {
  const std::lock_guard lock(mutex_);
  if (slot.in_window) expire(Clock::now());
  // A return is followed by the ack of its message. Until then the publish is not settled.
  if (slot.in_window && !slot.expired) return PublishOutcome::pending;
  slot.seen = true;
  slot.final = true;
  return slot.outcome;
}

bool PublishWindow::wait(PublishSlot& slot, Deadline until) {
  Lock lock(mutex_);
  pass_on_room();
  revive(lock, until);
  slot.waiting = true;
  const bool settled = slot.settled.wait_until(lock, until, [&] { return !slot.in_window; });
  slot.waiting = false;
  const auto now = Clock::now();
  // If the wait ended before the slot's deadline, the caller does not know the outcome yet.
  slot.seen = settled || now >= slot.deadline;
  if (!settled) expire(now);
  // A message that was never sent has ended here, with its own error.
  if (settled || (!slot.in_window && !slot.sent)) {
    if (slot.outcome == PublishOutcome::confirmed) return true;
    throw_failure(slot.outcome, error_of(slot));
  }
  if (now < slot.deadline) return false;
  const bool sent = slot.sent;
  lock.unlock();
  connection_->raise_timeout(
      {.operation = operation,
       .text = sent ? "no confirm before the deadline" : "not sent before the deadline",
       .in_doubt = sent});
}

void PublishWindow::release(PublishSlot& slot) noexcept {
  const std::lock_guard lock(mutex_);
  slot.held = false;
  if (slot.expired && !slot.seen) note_unseen(slot);
  drop(slot);
}

void PublishWindow::flush(Deadline deadline) {
  Lock lock(mutex_);
  pass_on_room();
  revive(lock, deadline);
  for (;;) {
    const auto now = Clock::now();
    expire(now);
    if (open_publishes() == 0 || now >= deadline) break;
    idle_.wait_until(lock, std::min(deadline, next_expiry_));
  }
  if (open_publishes() != 0) {
    const std::size_t in_flight = open_publishes();
    lock.unlock();
    connection_->raise_timeout({.operation = "flush",
                                .text = fmt::format("{} publishes are still without a confirm", in_flight),
                                .in_doubt = true});
  }
  if (const auto failure = std::exchange(unseen_, std::nullopt))
    throw_failure(failure->outcome, failure->error);
}

std::size_t PublishWindow::in_flight() {
  const std::lock_guard lock(mutex_);
  expire(Clock::now());
  return open_publishes();
}

// Ends the publishes that are past their deadline. Those that the broker may still confirm stay in the window
// until it confirms them, or cannot any more. The others leave the window.
void PublishWindow::expire(Deadline now) noexcept {
  if (now < next_expiry_) return;
  const ErrorDetails too_late{.operation = operation,
                              .text = text_or_no_memory([] { return "no confirm before the deadline"; }),
                              .in_doubt = true};
  next_expiry_ = Deadline::max();
  bool room = false;
  for (auto each = resend_.begin(); each != resend_.end();) {
    PublishSlot& slot = **each;
    if (slot.deadline > now) {
      next_expiry_ = std::min(next_expiry_, slot.deadline);
      ++each;
      continue;
    }
    const ErrorDetails error = expired_in_queue(slot);
    each = resend_.erase(each);
    settle(slot, PublishOutcome::unknown, &error);
    room = true;
  }
  tracker_.each([&](PublishSlot* slot) {
    if (slot->expired || slot->outcome == PublishOutcome::returned) return;
    if (slot->deadline > now) {
      next_expiry_ = std::min(next_expiry_, slot->deadline);
      return;
    }
    slot->error = try_to_keep([&] { return too_late; });
    slot->outcome = PublishOutcome::unknown;
    slot->expired = true;
    ++expired_;
    if (slot->call) tell(*slot);
    if (!slot->held && !slot->seen) note_unseen(*slot);
  });
  if (room) room_.notify_all();
  if (open_publishes() == 0) idle_.notify_all();
}

// No caller will read this failure. The next flush() throws it if it is the first, and the log reports it.
void PublishWindow::note_unseen(PublishSlot& slot) noexcept {
  slot.seen = true;
  ErrorDetails error = error_of(slot);
  if (!unseen_) unseen_ = Failure{slot.outcome, kept(error)};
  ++unlogged_[static_cast<std::size_t>(slot.outcome)];
  ++unseen_count_;
  unlogged_reason_ = std::move(error.text);
  const auto now = Clock::now();
  if (now >= next_log_) return log_unseen(now);
  // Not one log line for each failure: the tick reports their number.
  if (channel_) connection_->request_tick(channel_);
}

void PublishWindow::log_unseen(Deadline now) noexcept {
  const auto unlogged = std::exchange(unlogged_, {});
  if (std::ranges::all_of(unlogged, [](std::size_t count) { return count == 0; })) return;
  next_log_ = now + log_interval;
  connection_->events().log(LogLevel::error, [&] {
    std::size_t count = 0;
    std::string by_outcome;
    for (std::size_t i = 0; i < unlogged.size(); ++i) {
      if (unlogged[i] == 0) continue;
      count += unlogged[i];
      by_outcome += fmt::format("{}{} {}", by_outcome.empty() ? "" : ", ", unlogged[i],
                                to_string(static_cast<PublishOutcome>(i)));
    }
    return fmt::format(
        "publisher to exchange \"{}\": {} publishes failed, and their Confirmations were dropped: {} "
        "({} since it was made). The last one: {}",
        options_.exchange, count, by_outcome, unseen_count_, unlogged_reason_);
  });
}

}  // namespace warren::inline v0::engine
