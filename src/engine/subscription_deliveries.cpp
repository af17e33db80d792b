// How a Subscription handles deliveries, on the I/O thread and on the workers.

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

#include "engine/delivery_access.hpp"
#include "engine/no_memory.hpp"
#include "engine/subscription.hpp"

namespace warren::inline v0::engine {
namespace {

// The pause before a stream's message is handled again, so that a message that always fails does not spin.
constexpr std::chrono::milliseconds run_again_pause{100};
constexpr std::chrono::milliseconds no_memory_pause{500};
constexpr std::size_t most_taken = 1'024;  // the most taken entries at the front before they are erased

}  // namespace

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

// Drops the deliveries of a lost channel that no worker has taken: the broker redelivers them. Taken ones are
// settled on a channel that is gone, and are counted as stale. Deliveries of a stream go to no other
// consumer, so they are kept, at most as many as the prefetch. The rest is consumed again.
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

void Subscription::drop_arrivals() noexcept {
  if (is_stream() && !arrivals_.empty()) position_.dropped(arrivals_.front()->delivery.headers());
  arrivals_.clear();
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

// Takes one delivery at a time. Deliveries that a worker held in advance could not be requeued at once when
// the run ends.
bool Subscription::take(ContentPtr& content) noexcept {
  std::unique_lock lock(mutex_);
  try {
    if (content) spare_.push_back(std::move(content));
  } catch (...) {  // no memory: the content is not used again
    content.reset();
  }
  const auto ready = [&] { return taken_ != queue_.size() && !state().is_paused(); };
  if (!ready() && !is_ending()) {
    ++idle_workers_;
    arrived_.wait(lock, [&] { return ready() || is_ending(); });
    --idle_workers_;
  }
  if (is_ending()) return false;
  content = std::move(queue_[taken_++]);
  last_tag_ = content->delivery.delivery_tag();
  // await_kept() waits until the kept deliveries of a stream's lost channel are taken.
  if (taken_ == queue_.size() && state().is_to_reopen()) changed_.notify_all();
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

// False if the delivery's channel is gone, or if the delivery is already settled.
template <std::invocable Refuse>
bool Subscription::sends(Refuse&& refuse) noexcept {
  try {
    return refuse();
  } catch (const std::bad_alloc&) {
    connection_->drop(no_memory);  // otherwise the delivery would stay unsettled
    return false;
  } catch (...) {
    return false;
  }
}

bool Subscription::refuse(const Delivery& delivery, Requeue requeue) noexcept {
  if (is_stream() && requeue == Requeue::yes) return give_back(delivery);
  return sends([&] {
    if (is_stream()) return acknowledge(delivery);
    const auto channel = DeliveryAccess::channel(delivery);
    if (channel) channel->refuse(delivery.delivery_tag(), requeue == Requeue::yes, requeue == Requeue::yes);
    return channel != nullptr;
  });
}

bool Subscription::give_back(const Delivery& delivery) noexcept {
  return sends([&] {
    if (is_stream()) {
      position_.dropped(delivery.headers());
      return can_settle(delivery);
    }
    const auto channel = DeliveryAccess::channel(delivery);
    if (channel) channel->refuse(delivery.delivery_tag(), true, false);
    return channel != nullptr;
  });
}

void Subscription::lack_memory() noexcept {
  connection_->drop(no_memory);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, no_memory_pause, [&] { return is_ending(); });
}

bool Subscription::wait_to_run_again(const Delivery& delivery) {
  std::unique_lock lock(mutex_);
  const auto leave = [&] { return is_ending() || state().is_paused() || !can_settle(delivery); };
  if (!changed_.wait_for(lock, run_again_pause, leave)) return true;
  position_.dropped(delivery.headers());  // with the lock held, before resume() can run
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
  if (position_.is_stream()) position_.settled_below(channel()->lowest_unsettled());
  if (is_ending()) return give_arrivals_back();
  std::unique_lock lock(mutex_);
  if (state().link == SubscriptionLink::unsubscribed) {
    lock.unlock();
    return give_arrivals_back();
  }
  append_arrivals();
  spare.swap(spare_);
  const std::size_t wanted = std::min(idle_workers_, queue_.size() - taken_);
  lock.unlock();  // a thread that is woken while the lock is held blocks on it and sleeps again
  if (wanted == 1) {
    arrived_.notify_one();
  } else if (wanted > 1) {
    arrived_.notify_all();
  }
}

void Subscription::give_arrivals_back() noexcept {
  for (const ContentPtr& content : arrivals_) give_back(content->delivery);
  arrivals_.clear();
}

// Called with the lock held.
void Subscription::append_arrivals() {
  if (queue_.empty()) return queue_.swap(arrivals_);
  if (const std::size_t size = queue_.size() + arrivals_.size(); size > queue_.capacity())
    queue_.reserve(std::max(2 * queue_.capacity(), size));  // moved contents could not be given back
  std::move(arrivals_.begin(), arrivals_.end(), std::back_inserter(queue_));
  arrivals_.clear();
}

}  // namespace warren::inline v0::engine
