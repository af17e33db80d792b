#include "engine/subscription.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

// A queue that cancels again at once must not spin.
constexpr std::chrono::milliseconds resubscribe_pause{100};
constexpr std::size_t most_taken = 1'024;  // how many may lie at the front before they are cleared away

}  // namespace

Subscription::Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options)
    : connection_(std::move(connection)), options_(std::move(options)) {}

void Subscription::open() {
  channel_ = connection_->open_channel(connection_->operation_deadline(), weak_from_this());
  try {
    channel_->call(
        "basic.qos", id::basic_qos_ok, connection_->operation_deadline(),
        [&](Bytes& out, std::uint16_t channel) { wire::basic_qos(out, channel, options_.prefetch); });
    subscribe();
  } catch (...) {
    end(nullptr);
    channel_->begin_close();
    throw;
  }
}

void Subscription::subscribe() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = false;
  }
  Reply reply = channel_->call(fmt::format("basic.consume \"{}\"", options_.queue), id::basic_consume_ok,
                               connection_->operation_deadline(), [&](Bytes& out, std::uint16_t channel) {
                                 wire::basic_consume(out, channel, options_.queue, options_.consumer_tag,
                                                     {.exclusive = options_.exclusive}, options_.arguments);
                               });
  const std::lock_guard lock(mutex_);
  consumer_tag_ = std::move(reply.name);
  subscribed_ = !is_ending() && !cancelled_;
}

void Subscription::subscribe_again() {
  {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, resubscribe_pause, [&] { return is_ending(); })) return;
  }
  subscribe();
}

Subscription::Event Subscription::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_ending() || cancelled_; });
  return is_ending() ? Event::ended : Event::cancelled;
}

void Subscription::end(std::exception_ptr reason) noexcept {
  const std::lock_guard lock(mutex_);
  if (is_ending()) return;
  reason_ = std::move(reason);
  ending_.store(true, std::memory_order_release);
  subscribed_ = false;
  arrived_.notify_all();
  changed_.notify_all();
}

std::exception_ptr Subscription::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

bool Subscription::cancel(Deadline deadline) noexcept {
  bool answered = true;
  try {
    std::string tag;
    {
      const std::lock_guard lock(mutex_);
      tag = consumer_tag_;
    }
    if (channel_->is_open()) {
      channel_->call("basic.cancel", id::basic_cancel_ok, deadline,
                     [&](Bytes& out, std::uint16_t channel) { wire::basic_cancel(out, channel, tag); });
    }
  } catch (const TimeoutError&) {
    answered = false;
  } catch (...) {  // the channel is gone: so is the subscription
  }
  std::vector<ContentPtr> left;
  {
    const std::lock_guard lock(mutex_);
    left.swap(queue_);
    left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  for (const ContentPtr& content : left) refuse(content->delivery, Requeue::yes);
  return answered;
}

void Subscription::close(Deadline deadline) noexcept {
  try {
    channel_->close(deadline);
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

// One at a time: what a worker held ahead of its handler could not go back at once when the run ends.
bool Subscription::take(ContentPtr& content) {
  std::unique_lock lock(mutex_);
  if (content) spare_.push_back(std::move(content));
  if (taken_ == queue_.size() && !is_ending()) {
    lock.unlock();
    channel_->flush_acks();
    lock.lock();
    ++idle_workers_;
    arrived_.wait(lock, [&] { return taken_ != queue_.size() || is_ending(); });
    --idle_workers_;
  }
  if (is_ending()) return false;
  content = std::move(queue_[taken_++]);
  if (taken_ == queue_.size() || taken_ >= most_taken) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  return true;
}

bool Subscription::acknowledge(const Delivery& delivery) {
  const std::size_t at_most = std::max<std::size_t>(options_.prefetch / 2, 1);
  const auto settlement = channel_->acknowledge_later(delivery.delivery_tag(), at_most);
  // Where nobody comes by soon, as while a handler takes its time, it goes out now.
  if (!ticking_.load(std::memory_order_acquire)) channel_->flush_acks();
  return settlement == AckTracker::Settlement::accepted;
}

bool Subscription::refuse(const Delivery& delivery, Requeue requeue) noexcept {
  try {
    channel_->refuse(delivery.delivery_tag(), requeue == Requeue::yes, false);
    return true;
  } catch (...) {
    return false;
  }
}

bool Subscription::is_unsettled(const Delivery& delivery) const {
  return channel_->is_unsettled(delivery.delivery_tag());
}

void Subscription::on_delivery(ContentPtr content) { arrivals_.push_back(std::move(content)); }

bool Subscription::on_turn_end(std::vector<ContentPtr>& spare) {
  if (is_ending()) {
    for (const ContentPtr& content : arrivals_) refuse(content->delivery, Requeue::yes);
    arrivals_.clear();
    return false;
  }
  // Before anybody can acknowledge: see on_tick().
  ticking_.store(true, std::memory_order_release);
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) {
    queue_.swap(arrivals_);
  } else {
    std::move(arrivals_.begin(), arrivals_.end(), std::back_inserter(queue_));
    arrivals_.clear();
  }
  spare.swap(spare_);
  if (idle_workers_ == 1 || queue_.size() - taken_ == 1) {
    arrived_.notify_one();
  } else if (idle_workers_ > 1) {
    arrived_.notify_all();
  }
  return true;
}

bool Subscription::on_tick() {
  // Whoever acknowledges after the flush sees that nobody comes by; whoever did before it is flushed.
  ticking_.store(false, std::memory_order_release);
  if (!channel_->flush_acks()) return false;
  ticking_.store(true, std::memory_order_release);
  return true;
}

void Subscription::on_cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  was_cancelled_ = true;
  subscribed_ = false;
  changed_.notify_all();
}

void Subscription::on_closed(const ErrorDetails& error) {
  bool queue_is_gone = false;
  {
    const std::lock_guard lock(mutex_);
    queue_is_gone = was_cancelled_ && error.code == 404;
  }
  try {
    ErrorDetails details = error;
    details.operation = fmt::format("consume \"{}\"", options_.queue);
    if (queue_is_gone) {
      details.text = "the broker cancelled the subscription, and the queue is gone: " + details.text;
      end(std::make_exception_ptr(ConsumerCancelledError(std::move(details))));
    } else if (error.scope == ErrorScope::connection) {
      end(std::make_exception_ptr(ConnectionError(std::move(details))));
    } else {
      end(std::make_exception_ptr(ChannelError(std::move(details))));
    }
  } catch (...) {
    end(std::current_exception());
  }
}

}  // namespace warren::inline v0::engine
