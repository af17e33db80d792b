#include "engine/subscription.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

#include "engine/delivery_access.hpp"
#include "engine/no_memory.hpp"
#include "engine/request.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

// Of a stream's message that its handler wants to have again: what always comes back must not spin.
constexpr std::chrono::milliseconds run_again_pause{100};
constexpr std::chrono::milliseconds no_memory_pause{500};
constexpr std::size_t most_taken = 1'024;  // how many may lie at the front before they are cleared away

// False where the channel that brought it is gone. @throws as ChannelCore::refuse()
bool refuse_on_channel(const Delivery& delivery, Requeue requeue, bool reject) {
  const auto channel = DeliveryAccess::channel(delivery);
  if (!channel) return false;
  channel->refuse(delivery.delivery_tag(), requeue == Requeue::yes, reject);
  return true;
}

}  // namespace

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
      connection_->await_open(fmt::format("consume \"{}\"", options_.queue), deadline,
                              [this] { return is_ending(); });
      if (!is_ending()) open_channel();
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
    lost_ = false;
    cancelled_ = false;
  }
  if (position_.is_stream()) opened->set_stream();
  ask(*opened, request::set_prefetch(prefetch_), connection_->operation_deadline());
  {
    const std::lock_guard lock(mutex_);
    if (paused_) return;
  }
  subscribe();
}

void Subscription::pause() {
  std::shared_ptr<ChannelCore> open;
  std::string tag;
  {
    const std::lock_guard lock(mutex_);
    paused_ = true;
    if (std::exchange(subscribed_, false)) open = channel_;
    tag = consumer_tag_;
  }
  if (open) {  // else it is lost, or the broker cancelled it
    open->flush_acks();
    ask(*open, request::cancel(tag), connection_->operation_deadline());
  }
  {
    const std::lock_guard lock(mutex_);
    away_ = true;
  }
  give_back_waiting();
}

bool Subscription::is_paused() const {
  const std::lock_guard lock(mutex_);
  return paused_;
}

void Subscription::resume(std::uint16_t prefetch) {
  prefetch_ = prefetch;
  {
    const std::lock_guard lock(mutex_);
    paused_ = false;
    away_ = false;
    arrived_.notify_all();
    if (lost_ || cancelled_) return;  // open_again() subscribes
  }
  // What was dropped is unsettled on the channel: from another one it comes again.
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
  Reply reply = channel()->call(fmt::format("basic.consume \"{}\"", queue), id::basic_consume_ok,
                                connection_->operation_deadline(), [&](Bytes& out, std::uint16_t number) {
                                  wire::basic_consume(out, number, queue, options_.consumer_tag,
                                                      {.exclusive = options_.exclusive}, arguments);
                                });
  const std::lock_guard lock(mutex_);
  consumer_tag_ = std::move(reply.name);
  subscribed_ = !is_ending() && !cancelled_ && !lost_;
  if (!counted_) connection_->topology().consumer_added(queue);
  counted_ = true;
}

Subscription::Event Subscription::wait(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto happened = [&] { return is_ending() || cancelled_ || lost_ || woken_; };
  if (deadline == Deadline::max()) {
    changed_.wait(lock, happened);
  } else {
    changed_.wait_until(lock, deadline, happened);
  }
  woken_ = false;
  if (is_ending()) return Event::ended;
  return lost_ ? Event::lost : cancelled_ ? Event::cancelled : Event::woken;
}

void Subscription::hold() noexcept {
  const std::lock_guard lock(mutex_);
  paused_ = true;
  woken_ = true;
  changed_.notify_all();
}

void Subscription::end(std::exception_ptr reason) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (is_ending()) return;
    reason_ = std::move(reason);
    ending_.store(true, std::memory_order_release);
    subscribed_ = false;
    arrived_.notify_all();
    changed_.notify_all();
  }
  connection_->notify();  // it may wait there to be open again
}

std::exception_ptr Subscription::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

bool Subscription::cancel(Deadline deadline) noexcept {
  bool answered = true;
  try {
    std::shared_ptr<ChannelCore> open;
    std::string tag;
    {
      const std::lock_guard lock(mutex_);
      open = channel_;
      tag = consumer_tag_;
      if (std::exchange(counted_, false)) connection_->topology().consumer_removed(options_.queue);
    }
    if (open && open->is_open()) ask(*open, request::cancel(tag), deadline);
  } catch (const TimeoutError&) {
    answered = false;
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);  // else the broker would go on delivering
  } catch (...) {                  // the channel is gone: so is the subscription
  }
  give_back_waiting();
  return answered;
}

void Subscription::give_back_waiting() noexcept {
  std::vector<ContentPtr> left;
  {
    const std::lock_guard lock(mutex_);
    left.swap(queue_);
    left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  for (const ContentPtr& content : left) give_back(content->delivery);
}

// What has not begun comes again; what runs is settled on a channel that is gone, and counted as stale. A
// stream's deliveries are nobody else's: they stay, at most as many as the prefetch, and those behind them
// come again.
void Subscription::left(const ChannelCore& channel) noexcept {
  {
    const std::lock_guard lock(mutex_);
    spare_.clear();
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
    const std::size_t kept = keeps_deliveries() ? std::min<std::size_t>(queue_.size(), options_.prefetch) : 0;
    if (kept != queue_.size() && is_stream()) position_.dropped(queue_[kept]->delivery.headers());
    queue_.resize(kept);
  }
  position_.left(channel.lowest_unsettled());
}

void Subscription::close(Deadline deadline) noexcept {
  try {
    if (const auto open = channel()) {
      open->give_back_unsettled();
      open->close(deadline);
    }
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);
  } catch (...) {  // no answer: it was sent, and the connection's end closes the channel, too
  }
}

bool Subscription::is_subscribed() const {
  const std::lock_guard lock(mutex_);
  return subscribed_;
}

std::size_t Subscription::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size() - taken_;
}

std::size_t Subscription::await_settled(Deadline deadline) const {
  std::shared_ptr<ChannelCore> open;
  std::uint64_t last_tag = 0;
  {
    const std::lock_guard lock(mutex_);
    open = channel_;
    last_tag = last_tag_;
  }
  return open ? open->await_settled(last_tag, deadline) : 0;
}

// One at a time: what a worker held ahead of its handler could not go back at once when the run ends.
bool Subscription::take(ContentPtr& content) noexcept {
  std::unique_lock lock(mutex_);
  try {
    if (content) spare_.push_back(std::move(content));
  } catch (...) {  // then it is not used again
    content.reset();
  }
  const auto ready = [&] { return taken_ != queue_.size() && !paused_; };
  if (!ready() && !is_ending()) {
    ++idle_workers_;
    arrived_.wait(lock, [&] { return ready() || is_ending(); });
    --idle_workers_;
  }
  if (is_ending()) return false;
  content = std::move(queue_[taken_++]);
  last_tag_ = content->delivery.delivery_tag();
  if (lost_ && taken_ == queue_.size()) changed_.notify_all();  // a stream's: await_kept()
  if (taken_ == queue_.size() || taken_ >= most_taken) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  return true;
}

bool Subscription::acknowledge(const Delivery& delivery) {
  const auto channel = DeliveryAccess::channel(delivery);
  if (!channel) return keeps_deliveries();
  const std::size_t at_most = std::max<std::size_t>(options_.prefetch / 2, 1);
  const auto settlement = channel->acknowledge_later(delivery.delivery_tag(), at_most);
  return settlement ? settlement == AckTracker::Settlement::accepted : keeps_deliveries();
}

bool Subscription::refuse(const Delivery& delivery, Requeue requeue) noexcept {
  try {
    if (requeue == Requeue::yes) {
      if (is_stream()) return give_back(delivery);
      return refuse_on_channel(delivery, requeue, /*reject=*/true);
    }
    if (is_stream()) return acknowledge(delivery);
    return refuse_on_channel(delivery, requeue, /*reject=*/false);
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);  // unsettled it would be nobody's
    return false;
  } catch (...) {
    return false;
  }
}

bool Subscription::give_back(const Delivery& delivery) noexcept {
  try {
    if (is_stream()) {
      position_.dropped(delivery.headers());
      return can_settle(delivery);
    }
    return refuse_on_channel(delivery, Requeue::yes, /*reject=*/false);
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);  // unsettled it would be nobody's
    return false;
  } catch (...) {
    return false;
  }
}

void Subscription::lack_memory() noexcept {
  connection_->drop(no_memory);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, no_memory_pause, [&] { return is_ending(); });
}

bool Subscription::wait_to_run_again(const Delivery& delivery) {
  std::unique_lock lock(mutex_);
  const auto leave = [&] { return is_ending() || paused_ || !can_settle(delivery); };
  if (!changed_.wait_for(lock, run_again_pause, leave)) return true;
  position_.dropped(delivery.headers());  // with the lock held: resume() is still to come
  return false;
}

bool Subscription::is_unsettled(const Delivery& delivery) const {
  const auto channel = DeliveryAccess::channel(delivery);
  return !channel || channel->is_unsettled(delivery.delivery_tag());
}

bool Subscription::can_settle(const Delivery& delivery) const {
  if (keeps_deliveries()) return true;
  const auto channel = DeliveryAccess::channel(delivery);
  return channel && channel->is_usable();
}

void Subscription::on_delivery(ContentPtr content) {
  const Delivery& delivery = content->delivery;
  if (position_.delivered(delivery.delivery_tag(), content->fault.empty() ? &delivery.headers() : nullptr)) {
    if (const auto of = DeliveryAccess::channel(delivery)) of->set_stream();
  }
  arrivals_.push_back(std::move(content));
}

void Subscription::on_turn_end(std::vector<ContentPtr>& spare) {
  const auto give_arrivals_back = [this] {
    for (const ContentPtr& content : arrivals_) give_back(content->delivery);
    arrivals_.clear();
  };
  if (position_.is_stream()) position_.settled_below(channel()->lowest_unsettled());
  if (is_ending()) return give_arrivals_back();
  std::unique_lock lock(mutex_);
  if (away_) {
    lock.unlock();
    return give_arrivals_back();
  }
  if (queue_.empty()) {
    queue_.swap(arrivals_);
  } else {
    if (const std::size_t size = queue_.size() + arrivals_.size(); size > queue_.capacity())
      queue_.reserve(std::max(2 * queue_.capacity(), size));  // what is moved can't be given back
    std::move(arrivals_.begin(), arrivals_.end(), std::back_inserter(queue_));
    arrivals_.clear();
  }
  spare.swap(spare_);
  const std::size_t wanted = std::min(idle_workers_, queue_.size() - taken_);
  lock.unlock();  // who is woken under the lock runs into it, and sleeps again
  if (wanted == 1) {
    arrived_.notify_one();
  } else if (wanted > 1) {
    arrived_.notify_all();
  }
}

// The broker may have returned what it delivered to the queue (a consumer timeout), keeps the consumer even
// so until it is cancelled, and would close the channel for the next timeout: all that is left of it is to be
// left.
void Subscription::on_cancel(std::string_view consumer_tag) {
  const auto open = channel();
  if (connection_->negotiated().takes_cancel_ok) {
    try {
      open->send("basic.cancel-ok", Outbox::Entry::answer,
                 [&](Bytes& out, std::uint16_t number) { wire::basic_cancel_ok(out, number, consumer_tag); });
    } catch (const Error&) {  // a close of our own is on its way, which says the same
    }
  }
  tell_cancelled(*open);
  open->retire();
  drop_arrivals();
  left(*open);
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  subscribed_ = false;
  changed_.notify_all();
}

void Subscription::drop_arrivals() noexcept {
  if (is_stream() && !arrivals_.empty()) position_.dropped(arrivals_.front()->delivery.headers());
  arrivals_.clear();
}

void Subscription::on_closed(const ErrorDetails& error) noexcept {
  // The broker's acknowledgement timeout closes the channel, too (https://www.rabbitmq.com/docs/consumers).
  const bool overdue = wire::is_overdue_acknowledgement(error.code, error.text);
  bool passing = error.scope == ErrorScope::connection ? connection_->is_recovering() : overdue;
  drop_arrivals();
  if (const auto of = channel()) left(*of);
  {
    const std::lock_guard lock(mutex_);
    passing = passing || (reopening_ && error.scope == ErrorScope::channel);
    if (passing && !is_ending()) {
      lost_ = true;
      subscribed_ = false;
      changed_.notify_all();
    }
  }
  if (overdue) log(LogLevel::error, error.text);
  if (passing) return;
  try {
    ErrorDetails details = error;
    details.operation = fmt::format("consume \"{}\"", options_.queue);
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
