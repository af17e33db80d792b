#include "engine/subscription.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/delivery_access.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

// A queue that cancels again at once must not spin.
constexpr std::chrono::milliseconds resubscribe_pause{100};
// A queue that the connection before still holds is free within seconds; a node is back within minutes, or
// never.
constexpr std::chrono::milliseconds retry_pause{500};
constexpr int most_tries = 600;
constexpr std::size_t most_taken = 1'024;  // how many may lie at the front before they are cleared away

void set_prefetch(ChannelCore& channel, std::uint16_t prefetch, ConnectionCore::Deadline deadline) {
  channel.call("basic.qos", id::basic_qos_ok, deadline,
               [&](Bytes& out, std::uint16_t number) { wire::basic_qos(out, number, prefetch); });
}

void unsubscribe(ChannelCore& channel, const std::string& tag, ConnectionCore::Deadline deadline) {
  channel.call("basic.cancel", id::basic_cancel_ok, deadline,
               [&](Bytes& out, std::uint16_t number) { wire::basic_cancel(out, number, tag); });
}

}  // namespace

Subscription::Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options)
    : connection_(std::move(connection)), options_(std::move(options)), prefetch_(options_.prefetch) {}

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
  const auto opened = connection_->open_channel(connection_->operation_deadline(), weak_from_this());
  {
    const std::lock_guard lock(mutex_);
    channel_ = opened;
    last_tag_ = 0;
    lost_ = false;
  }
  set_prefetch(*opened, prefetch_, connection_->operation_deadline());
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
    unsubscribe(*open, tag, connection_->operation_deadline());
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
    if (lost_) return;  // open_again() subscribes
  }
  set_prefetch(*channel(), prefetch_, connection_->operation_deadline());
  subscribe();
}

void Subscription::open_again() {
  const std::string operation = fmt::format("consume \"{}\"", options_.queue);
  const auto set_reopening = [this](bool reopening) {
    const std::lock_guard lock(mutex_);
    reopening_ = reopening;
  };
  for (int tries = 1;; ++tries) {
    connection_->await_open(operation, Deadline::max(), [this] { return is_ending(); });
    // Declared in the background, once the connection before holds it no longer.
    connection_->await_queue(options_.queue, [this] { return is_ending(); });
    if (is_ending()) return;
    set_reopening(true);
    try {
      open_channel();
      return set_reopening(false);
    } catch (const ConnectionError&) {
      if (connection_->has_ended()) throw;
    } catch (const TimeoutError&) {  // a link that is stalled: its heartbeats, or the next try, tell
      channel()->give_up();
    } catch (const ChannelError& error) {
      // The broker still holds the queue for the connection before, or the queue's node is down.
      const bool passing =
          error.code() == 405 || error.code() == 403 || wire::is_node_down(error.code(), error.text());
      if (!passing || tries >= most_tries) throw;
    }
    std::unique_lock lock(mutex_);
    lost_ = true;
    changed_.wait_for(lock, retry_pause, [&] { return is_ending(); });
  }
}

void Subscription::subscribe() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = false;
  }
  const std::string queue = connection_->topology().current_name(options_.queue);
  Reply reply = channel()->call(fmt::format("basic.consume \"{}\"", queue), id::basic_consume_ok,
                                connection_->operation_deadline(), [&](Bytes& out, std::uint16_t number) {
                                  wire::basic_consume(out, number, queue, options_.consumer_tag,
                                                      {.exclusive = options_.exclusive}, options_.arguments);
                                });
  const std::lock_guard lock(mutex_);
  consumer_tag_ = std::move(reply.name);
  subscribed_ = !is_ending() && !cancelled_ && !lost_;
  if (!counted_) connection_->topology().consumer_added(queue);
  counted_ = true;
}

void Subscription::subscribe_again() {
  {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, resubscribe_pause, [&] { return is_ending(); })) return;
    cancelled_ = false;
    if (paused_) return;
  }
  try {
    subscribe();
  } catch (const ChannelError& error) {
    if (!wire::is_node_down(error.code(), error.text())) throw;  // else it is lost, and open_again() waits
  } catch (const TimeoutError&) {  // the answer may still come: to another channel
    channel()->give_up();
    const std::lock_guard lock(mutex_);
    lost_ = true;
  }
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
    if (open && open->is_open()) unsubscribe(*open, tag, deadline);
  } catch (const TimeoutError&) {
    answered = false;
  } catch (...) {  // the channel is gone: so is the subscription
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
  for (const ContentPtr& content : left) refuse(content->delivery, Requeue::yes);
}

void Subscription::close(Deadline deadline) noexcept {
  try {
    if (const auto open = channel()) open->close(deadline);
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
bool Subscription::take(ContentPtr& content) {
  std::unique_lock lock(mutex_);
  if (content) spare_.push_back(std::move(content));
  const auto ready = [&] { return taken_ != queue_.size() && !paused_; };
  if (!ready() && !is_ending()) {
    ++idle_workers_;
    arrived_.wait(lock, [&] { return ready() || is_ending(); });
    --idle_workers_;
  }
  if (is_ending()) return false;
  content = std::move(queue_[taken_++]);
  last_tag_ = content->delivery.delivery_tag();
  if (taken_ == queue_.size() || taken_ >= most_taken) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  return true;
}

bool Subscription::acknowledge(const Delivery& delivery) {
  const auto channel = DeliveryAccess::channel(delivery);
  if (!channel) return false;
  const std::size_t at_most = std::max<std::size_t>(options_.prefetch / 2, 1);
  const auto settlement = channel->acknowledge_later(delivery.delivery_tag(), at_most);
  // Where the I/O thread does not come by soon, it goes out now, and those behind it wait for a tick.
  if (!ticking_.exchange(true, std::memory_order_acq_rel)) {
    channel->flush_acks();
    connection_->request_tick(channel);
  }
  return settlement == AckTracker::Settlement::accepted;
}

bool Subscription::refuse(const Delivery& delivery, Requeue requeue) noexcept {
  try {
    delivery.nack(requeue);
    return true;
  } catch (...) {
    return false;
  }
}

bool Subscription::is_unsettled(const Delivery& delivery) const {
  const auto channel = DeliveryAccess::channel(delivery);
  return !channel || channel->is_unsettled(delivery.delivery_tag());
}

bool Subscription::can_settle(const Delivery& delivery) {
  const auto channel = DeliveryAccess::channel(delivery);
  return channel && channel->is_usable();
}

void Subscription::on_delivery(ContentPtr content) { arrivals_.push_back(std::move(content)); }

bool Subscription::on_turn_end(std::vector<ContentPtr>& spare) {
  const auto give_back = [this] {
    for (const ContentPtr& content : arrivals_) refuse(content->delivery, Requeue::yes);
    arrivals_.clear();
  };
  if (is_ending()) {
    give_back();
    return false;
  }
  // Before anybody can acknowledge: see on_tick().
  ticking_.store(true, std::memory_order_release);
  arrived_since_tick_ = true;
  std::unique_lock lock(mutex_);
  if (away_) {
    lock.unlock();
    give_back();
    return true;
  }
  if (queue_.empty()) {
    queue_.swap(arrivals_);
  } else {
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
  return true;
}

bool Subscription::on_tick() {
  // Whoever acknowledges after the flush sees that nobody comes by; whoever did before it is flushed.
  ticking_.store(false, std::memory_order_release);
  // What came in the meantime is still being handled: to stop now would send each of its acknowledgements
  // alone.
  const bool arrived = std::exchange(arrived_since_tick_, false);
  if (!channel()->flush_acks() && !arrived) return false;
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
  // The broker's acknowledgement timeout closes the channel, too (https://www.rabbitmq.com/docs/consumers).
  const bool overdue = error.code == 406 && error.text.find("delivery acknowledgement") != std::string::npos;
  const bool node_down = wire::is_node_down(error.code, error.text);
  bool passing = error.scope == ErrorScope::connection ? connection_->is_recovering() : overdue;
  bool queue_is_gone = false;
  arrivals_.clear();
  {
    const std::lock_guard lock(mutex_);
    // Of a node that dies the consumers of its classic queues are cancelled first.
    passing = passing || (was_cancelled_ && node_down) || (reopening_ && error.scope == ErrorScope::channel);
    queue_is_gone = was_cancelled_ && error.code == 404 && !node_down;
    if (passing && !is_ending()) {
      // What has not begun comes again; what runs is settled on a channel that is gone, and counted as stale.
      queue_.clear();
      spare_.clear();
      taken_ = 0;
      lost_ = true;
      subscribed_ = false;
      changed_.notify_all();
    }
  }
  if (overdue)
    connection_->events().log(LogLevel::error, fmt::format("consume \"{}\": {}", options_.queue, error.text));
  if (passing) return;
  if (queue_is_gone) connection_->topology().queue_gone(options_.queue);
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
