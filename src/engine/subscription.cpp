#include "engine/subscription.hpp"

#include <fmt/format.h>

#include <new>
#include <optional>
#include <utility>

#include "engine/no_memory.hpp"
#include "engine/request.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {

Subscription::Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options)
    : connection_(std::move(connection)),
      options_(std::move(options)),
      position_(options_.arguments, options_.unsettled_on_stream),
      prefetch_(options_.prefetch) {}

std::shared_ptr<ChannelCore> Subscription::channel() const {
  const std::lock_guard lock(mutex_);
  return channel_;
}

void Subscription::open() {
  const auto deadline = connection_->operation_deadline();
  try {
    connection_->unless_lost(deadline, [&] {
      connection_->await_open(fmt::format("consume \"{}\"", current_queue()), deadline,
                              [this] { return is_ending(); });
      if (is_ending()) return;
      apply(SubscriptionEvent::open);
      open_channel();
    });
  } catch (...) {
    end(nullptr);
    if (const auto opened = channel()) opened->begin_close();
    throw;
  }
}

void Subscription::open_channel() {
  if (!position_.is_known()) {
    const auto declared = connection_->topology().find_queue(options_.queue);
    const FieldValue* type = declared ? declared->arguments.find("x-queue-type") : nullptr;
    if (type != nullptr) {
      position_.set_kind(type->as_string() == "stream" ? StreamPosition::Kind::stream
                                                       : StreamPosition::Kind::other);
    }
  }
  const auto opened = connection_->open_channel(connection_->operation_deadline(), weak_from_this());
  {
    const std::lock_guard lock(mutex_);
    channel_ = opened;
    last_tag_ = 0;
  }
  if (position_.is_stream()) opened->set_stream();
  ask(*opened, request::set_prefetch(prefetch_), connection_->operation_deadline());
  const bool wanted = apply(SubscriptionEvent::opened) == SubscriptionAction::subscribe;
  if (wanted || state().is_to_reopen()) subscribe();  // if the channel is gone, this throws the reason
}

// The only place that changes the state.
SubscriptionAction Subscription::apply(SubscriptionEvent event) noexcept {
  const std::lock_guard lock(mutex_);
  return apply_locked(event);
}

SubscriptionAction Subscription::apply_locked(SubscriptionEvent event) noexcept {
  const SubscriptionState before = state();
  const auto [after, action] = next(before, event);
  if (after == before) return action;
  state_.store(after, std::memory_order_release);
  changed_.notify_all();
  if (after.link == SubscriptionLink::ending || (before.is_paused() && !after.is_paused()))
    arrived_.notify_all();
  return action;
}

void Subscription::pause() {
  std::shared_ptr<ChannelCore> open;
  std::string tag;
  {
    const std::lock_guard lock(mutex_);
    // If the subscription is not active, its channel is lost, or the broker cancelled it.
    if (apply_locked(SubscriptionEvent::pause) == SubscriptionAction::unsubscribe) open = channel_;
    tag = consumer_tag_.value_or("");
  }
  if (open) {
    open->flush_acks();
    ask(*open, request::cancel(tag), connection_->operation_deadline());
  }
  apply(SubscriptionEvent::unsubscribed);
  give_back_waiting();
}

void Subscription::resume(std::uint16_t prefetch) {
  prefetch_ = prefetch;
  // If there is no channel, open_again() subscribes.
  if (apply(SubscriptionEvent::resume) != SubscriptionAction::subscribe) return;
  // The deliveries that were given up are unsettled on this channel. Another channel gets them again.
  if (position_.is_stream()) {
    leave_stream();
    return open_again();
  }
  ask(*channel(), request::set_prefetch(prefetch_), connection_->operation_deadline());
  subscribe();
}

void Subscription::subscribe() {
  const FieldTable arguments = position_.arguments(std::chrono::system_clock::now());
  const std::string queue = connection_->topology().current_name(options_.queue);
  channel()->expect_deliveries(prefetch_);
  Reply reply =
      ask(*channel(),
          request::consume(queue, options_.consumer_tag, {.exclusive = options_.exclusive}, arguments),
          connection_->operation_deadline());
  const std::lock_guard lock(mutex_);
  if (!consumer_tag_) connection_->topology().consumer_added(queue);
  consumer_tag_ = std::move(reply.name);
  apply_locked(SubscriptionEvent::subscribed);
}

Subscription::Event Subscription::wait(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto happened = [&] { return is_ending() || state().is_to_reopen() || state().is_woken(); };
  if (deadline == Deadline::max()) {
    changed_.wait(lock, happened);
  } else {
    changed_.wait_until(lock, deadline, happened);
  }
  apply_locked(SubscriptionEvent::noticed);
  switch (state().link) {
    case SubscriptionLink::ending:
      return Event::ended;
    case SubscriptionLink::lost:
      return Event::lost;
    case SubscriptionLink::cancelled:
      return Event::cancelled;
    default:
      return Event::woken;
  }
}

void Subscription::hold() noexcept { apply(SubscriptionEvent::hold); }

void Subscription::end(std::exception_ptr reason) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (is_ending()) return;
    reason_ = std::move(reason);
    apply_locked(SubscriptionEvent::end);
  }
  connection_->notify();  // open_again() may be waiting there for the connection
}

std::exception_ptr Subscription::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

bool Subscription::cancel(Deadline deadline) noexcept {
  bool answered = true;
  try {
    std::shared_ptr<ChannelCore> open;
    std::optional<std::string> tag;
    {
      const std::lock_guard lock(mutex_);
      open = channel_;
      tag.swap(consumer_tag_);
      if (tag) connection_->topology().consumer_removed(options_.queue);
    }
    if (tag && open && open->is_open()) ask(*open, request::cancel(*tag), deadline);
  } catch (const TimeoutError&) {
    answered = false;
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);  // otherwise the broker would go on delivering
  } catch (...) {                  // the channel is gone, and the subscription with it
  }
  give_back_waiting();
  return answered;
}

void Subscription::close(Deadline deadline) noexcept {
  try {
    if (const auto open = channel()) {
      open->give_back_unsettled();
      open->close(deadline);
    }
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);
  } catch (...) {  // no answer: the channel ends with its connection at the latest
  }
}

// After a cancellation, the channel must be closed. The broker may have returned the deliveries to the queue
// (consumer timeout). It still keeps the consumer until basic.cancel, and would close the channel at the next
// timeout.
void Subscription::on_cancel(std::string_view consumer_tag) {
  const auto open = channel();
  if (connection_->negotiated().takes_cancel_ok) {
    try {
      open->send("basic.cancel-ok", Outbox::Entry::answer,
                 [&](Bytes& out, std::uint16_t number) { wire::basic_cancel_ok(out, number, consumer_tag); });
    } catch (const Error&) {  // our own channel.close is in flight, which also ends the consumer
    }
  }
  tell_cancelled(*open);
  open->retire();
  drop_arrivals();
  left(*open);
  apply(SubscriptionEvent::cancelled);
}

namespace {

SubscriptionEvent closed_by(const ErrorDetails& error, bool overdue, bool recovering) noexcept {
  if (error.scope != ErrorScope::connection) {
    return overdue ? SubscriptionEvent::lost : SubscriptionEvent::refused;
  }
  return recovering ? SubscriptionEvent::lost : SubscriptionEvent::connection_ended;
}

}  // namespace

void Subscription::on_closed(const ErrorDetails& error) noexcept {
  // The broker's acknowledgement timeout also closes the channel (https://www.rabbitmq.com/docs/consumers).
  const bool overdue = wire::is_overdue_acknowledgement(error.code, error.text);
  const bool recovering = error.scope == ErrorScope::connection && connection_->is_recovering();
  drop_arrivals();
  if (const auto of = channel()) left(*of);
  if (overdue) log(LogLevel::error, error.text);
  if (apply(closed_by(error, overdue, recovering)) != SubscriptionAction::end) return;
  try {
    ErrorDetails details = error;
    details.operation = fmt::format("consume \"{}\"", current_queue());
    if (error.scope == ErrorScope::connection) {
      end(std::make_exception_ptr(ConnectionError(std::move(details))));
    } else {
      end(std::make_exception_ptr(ChannelError(std::move(details))));
    }
  } catch (...) {
    end(std::current_exception());
  }
}

}  // namespace warren::inline v0::engine
