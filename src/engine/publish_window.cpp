#include "engine/publish_window.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "engine/deadline.hpp"
#include "engine/no_memory.hpp"
#include "engine/request.hpp"
#include "wire/scratch.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t large_buffer = 64 * 1024;  // a larger buffer is kept only within window_bytes

}  // namespace

PublishWindow::PublishWindow(std::shared_ptr<ConnectionCore> connection, PublisherOptions options)
    : connection_(std::move(connection)), options_(std::move(options)) {}

PublishWindow::~PublishWindow() { log_unseen(Clock::now()); }

void PublishWindow::open() {
  connection_->add(weak_from_this());  // before the first loss, so that none is missed
  Lock lock(mutex_);
  ensure_channel(lock, connection_->operation_deadline());
}

// Opens a channel in confirm mode.
std::shared_ptr<ChannelCore> PublishWindow::open_channel(Deadline deadline, ConnectionCore::Access access) {
  auto channel = connection_->open_channel(deadline, weak_from_this(), access);
  try {
    ask(*channel, request::confirm_select(), deadline);
  } catch (...) {
    channel->give_up();
    throw;
  }
  return channel;
}

void PublishWindow::use(std::shared_ptr<ChannelCore> channel) {
  channel_ = std::move(channel);
  step(PublisherEvent::opened);
  channel_number_.store(channel_->number(), std::memory_order_relaxed);
  frame_max_.store(channel_->frame_max(), std::memory_order_relaxed);
  if (std::ranges::any_of(unlogged_, [](std::size_t count) { return count != 0; })) {
    connection_->request_tick(channel_);
  }
}

void PublishWindow::ensure_channel(Lock& lock, Deadline deadline) {
  const auto is_idle = [&] { return !is_opening(state_) && state_ != PublisherState::reopening; };
  while (!channel_) {
    if (state_ == PublisherState::closed) {
      throw ChannelError(
          {.operation = operation, .text = "the publisher is closed", .scope = ErrorScope::channel});
    }
    if (!is_idle()) {
      if (changed_.wait_until(lock, deadline, is_idle)) continue;
      lock.unlock();
      connection_->raise_timeout({.operation = operation, .text = "no channel before the deadline"});
    }
    if (connection_->state() == ConnectionState::open) {
      open_for_caller(lock, deadline);
      continue;
    }
    lock.unlock();
    connection_->await_open(operation, deadline);
    lock.lock();
  }
}

// One attempt. Afterwards there is no channel if the connection was lost meanwhile.
void PublishWindow::open_for_caller(Lock& lock, Deadline deadline) {
  step(PublisherEvent::open_begins);
  lock.unlock();
  std::shared_ptr<ChannelCore> channel;
  std::exception_ptr failure;
  try {
    channel = open_channel(std::min(deadline, connection_->operation_deadline()),
                           ConnectionCore::Access::everybody);
  } catch (const ConnectionError& error) {
    ErrorDetails details = kept(error.details());
    details.in_doubt = false;  // in any case nothing was published
    if (Clock::now() >= deadline) {
      try {
        throw ConnectionError(std::move(details));
      } catch (...) {  // for example no memory for it
        failure = std::current_exception();
      }
    }
    std::this_thread::yield();  // the I/O thread is about to report the loss, with its reason
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  if (!take(std::move(channel))) step(PublisherEvent::open_failed);
  changed_.notify_all();
  if (failure) std::rethrow_exception(failure);
}

// Uses a channel that was opened without the lock. False if it is null, or unusable by now.
bool PublishWindow::take(std::shared_ptr<ChannelCore> channel) {
  if (!channel) return false;
  // If the channel was closed in the meantime, on_closed() was called and found nothing to do.
  if (state_ == PublisherState::closed || !channel->is_open()) {
    channel->give_up();
    return false;
  }
  use(std::move(channel));
  advance();
  return true;
}

// Whether the next channel is opened without a caller. A recovery that failed may have left this publisher
// without one.
bool PublishWindow::is_coming() {
  if (comes_by_itself(state_) && state_ != PublisherState::reopening &&
      connection_->state() == ConnectionState::open) {
    step(PublisherEvent::connection_open);
  }
  return comes_by_itself(state_);
}

// Opens a channel if messages wait to be sent and no channel is coming, for example because no number was
// free. The waiting thread opens it.
void PublishWindow::revive(Lock& lock, Deadline deadline) {
  if (channel_ || is_opening(state_) || state_ == PublisherState::closed) return;
  if (resend_.empty() || is_coming()) return;
  try {
    ensure_channel(lock, deadline);
  } catch (const Error&) {  // each publish ends at its own deadline
    if (!lock) lock.lock();
  }
}

bool PublishWindow::has_room(std::size_t bytes) const noexcept {
  const std::size_t in_flight = in_window();
  return in_flight == 0 || (in_flight < options_.window && bytes_ + bytes <= options_.window_bytes);
}

// Returns once there is a channel or one is coming, the window has room, and there is no alarm.
void PublishWindow::admit(Lock& lock, std::size_t bytes, Deadline deadline) {
  for (;;) {
    if (!channel_ && !is_coming()) ensure_channel(lock, deadline);
    if (!resend_.empty()) expire(Clock::now());
    if (has_room(bytes) && !connection_->is_blocked()) return;
    ++waiting_for_room_;
    const auto status = room_.wait_until(lock, resend_.empty() ? deadline : std::min(deadline, next_expiry_));
    --waiting_for_room_;
    next_is_woken_ = false;
    if (status == std::cv_status::no_timeout || Clock::now() < deadline) continue;
    if ((channel_ || is_coming()) && has_room(bytes) && !connection_->is_blocked()) return;
    const std::size_t in_flight = in_window();
    lock.unlock();
    connection_->raise_timeout(
        {.operation = operation,
         .text =
             fmt::format("not sent: no room in the window before the deadline ({} in flight)", in_flight)});
  }
}

PublishSlot* PublishWindow::publish(const Message& message, const PublishOptions& options) {
  const auto timeout = options.timeout.value_or(options_.timeout);
  if (timeout <= 0ms) {
    throw InvalidArgument({.operation = operation, .text = "the timeout is not above 0", .permanent = true});
  }
  const Deadline deadline = deadline_after(timeout);
  const std::int64_t stamp = next_stamp_.fetch_add(1, std::memory_order_relaxed);
  const std::uint16_t number = channel_number_.load(std::memory_order_relaxed);
  const std::uint32_t frame_max = frame_max_.load(std::memory_order_relaxed);

  wire::Scratch<ContentFrames> scratch;  // swapped with a slot's frames, so that their memory is used again
  ContentFrames& frames = *scratch;
  frames.assign(number, options.exchange.value_or(options_.exchange),
                options.routing_key.value_or(options_.routing_key), options_.mandatory, message,
                options_.mandatory ? std::optional(stamp) : std::nullopt, frame_max,
                DeliveryMode::persistent);
  try {
    return send(frames, number, frame_max, stamp, deadline);
  } catch (...) {
    frames.body.reset();
    if (frames.bytes && frames.bytes->capacity() > large_buffer) frames.bytes.reset();
    const Lock lock(mutex_);
    pass_on_room();
    throw;
  }
}

PublishSlot* PublishWindow::send(ContentFrames& frames, std::uint16_t number, std::uint32_t frame_max,
                                 std::int64_t stamp, Deadline deadline) {
  Lock lock(mutex_);
  for (;;) {
    admit(lock, frames.size(), deadline);
    if (!channel_ || fence_ || !resend_.empty() || (!missing_.empty() && is_missing(exchange_of(frames)))) {
      return enqueue(frames, frame_max, stamp, deadline);
    }
    if (channel_->number() != number || channel_->frame_max() < frame_max) {
      number = channel_->number();
      frame_max = channel_->frame_max();
      frames.refit(number, frame_max);
    }
    const auto [admission, slot] = append(frames, frame_max, stamp, deadline);
    if (slot != nullptr) return slot;
    if (admission == Outbox::Admission::closed) {
      // The connection is lost, and on_closed() follows. The next step depends on the channel's new state.
      changed_.wait(lock, [&, channel = channel_] { return channel_ != channel; });
      continue;
    }
    lock.unlock();
    if (!connection_->outbox().wait_for_space(deadline)) {
      connection_->raise_timeout(
          {.operation = operation, .text = "not sent: no room to write before the deadline"});
    }
    lock.lock();
  }
}

// Numbers and appends a message. If it returns no slot, the outbox refused the message, and `frames` is
// unchanged.
std::pair<Outbox::Admission, PublishSlot*> PublishWindow::append(ContentFrames& frames,
                                                                 std::uint32_t frame_max, std::int64_t stamp,
                                                                 Deadline deadline) {
  PublishSlot& slot = acquire();
  std::swap(slot.frames, frames);
  slot.stamp = stamp;
  slot.frame_max = frame_max;
  slot.deadline = deadline;
  const auto put_back = [&] {
    std::swap(frames, slot.frames);
    slot.held = false;
    drop(slot);
  };
  const auto entry = tracker_.outstanding() == 0 ? Outbox::Entry::lone : Outbox::Entry::bulk;
  // The number is taken when the message is appended, so that the numbers follow the order on the wire.
  auto admission = Outbox::Admission::closed;
  try {
    admission = connection_->outbox().append(entry, slot.frames, [&] {
      tracker_.add(&slot);
      // These are the frames of the slot's last message, which may still be written.
      if (frames.bytes.use_count() > 1) frames.bytes.reset();
      return true;
    });
  } catch (...) {
    put_back();
    throw;
  }
  if (admission != Outbox::Admission::accepted) {
    put_back();
    return {admission, nullptr};
  }
  slot.in_window = true;
  slot.sent = true;
  bytes_ += slot.frames.size();
  next_expiry_ = std::min(next_expiry_, deadline);
  return {admission, &slot};
}

// Queues a message for the next channel, or until the messages before it were sent.
PublishSlot* PublishWindow::enqueue(ContentFrames& frames, std::uint32_t frame_max, std::int64_t stamp,
                                    Deadline deadline) {
  PublishSlot& slot = acquire();
  resend_.push_back(&slot);
  std::swap(slot.frames, frames);
  frames.bytes.reset();  // the frames of the slot's last message may still be written
  slot.stamp = stamp;
  slot.frame_max = frame_max;
  slot.deadline = deadline;
  slot.in_window = true;
  bytes_ += slot.frames.size();
  next_expiry_ = std::min(next_expiry_, deadline);
  advance();
  return &slot;
}

// Reserves memory, so that neither drop() nor the loss of the channel allocates.
void PublishWindow::make_room_for_slots(std::size_t count) {
  if (free_.capacity() >= count && outstanding_.capacity() >= count) return;
  const std::size_t room = std::max<std::size_t>(2 * slots_.size(), 16);
  resend_.reserve(room);
  outstanding_.reserve(room);
  free_.reserve(room);
}

PublishSlot& PublishWindow::acquire() {
  if (free_.empty()) {
    make_room_for_slots(slots_.size() + 1);
    slots_.emplace_back();
    free_.push_back(&slots_.back());
  }
  PublishSlot& slot = *free_.back();
  free_.pop_back();
  if (const std::size_t capacity = slot.capacity(); capacity > large_buffer) kept_ -= capacity;
  slot.outcome = PublishOutcome::pending;
  slot.error.reset();
  slot.in_window = false;
  slot.held = true;
  slot.seen = false;
  slot.waiting = false;
  slot.sent = slot.resent = slot.lost = slot.passed = slot.suspect = slot.expired = slot.final = false;
  slot.listened = false;
  slot.strikes = 0;
  return slot;
}

// Frees a slot once neither the broker's answer nor its caller refers to it.
void PublishWindow::drop(PublishSlot& slot) noexcept {
  if (slot.in_window || slot.held) return;
  if (has_failed(slot.outcome) && !slot.seen) note_unseen(slot);
  if (const std::size_t capacity = slot.capacity(); capacity > large_buffer) {
    if (kept_ + bytes_ + capacity > options_.window_bytes) {
      slot.frames.bytes.reset();
    } else {
      kept_ += capacity;
    }
  }
  free_.push_back(&slot);
}

// Whether to wake one of the threads that wait for room, if no more than the given amount is in flight. One
// thread is enough: it usually publishes until the window is full again, and waking all of them costs more. A
// thread that does not need the room, or that waits for a confirm, passes it on. Otherwise the next confirm
// does.
bool PublishWindow::takes_next(std::size_t most_in_flight, std::size_t most_bytes) noexcept {
  if (waiting_for_room_ == 0 || next_is_woken_) return false;
  next_is_woken_ = open_publishes() <= most_in_flight && bytes_ <= most_bytes;
  return next_is_woken_;
}

void PublishWindow::pass_on_room() noexcept {
  if (takes_next(options_.window - 1, options_.window_bytes)) room_.notify_one();
}

void PublishWindow::on_unblocked() {
  const std::lock_guard lock(mutex_);
  room_.notify_all();
}

bool PublishWindow::on_tick() {
  Lock lock(mutex_);
  const auto now = Clock::now();
  if (now >= next_log_) log_unseen(now);
  if (draining_ && now >= drain_until_) advance();
  finish(lock);
  if (!lock) lock.lock();
  return draining_ || std::ranges::any_of(unlogged_, [](std::size_t count) { return count != 0; });
}

std::shared_ptr<ChannelCore> PublishWindow::take_channel() noexcept {
  const std::lock_guard lock(mutex_);
  step(PublisherEvent::closed);
  room_.notify_all();
  changed_.notify_all();
  fail_resend(
      {.text = text_or_no_memory([] { return "the publisher was closed before it was sent, or sent again"; }),
       .scope = ErrorScope::channel});
  log_unseen(Clock::now());
  return std::exchange(channel_, nullptr);
}

void PublishWindow::begin_close() noexcept {
  try {
    const auto channel = take_channel();
    connection_->end_trial(this);
    if (channel) channel->begin_close();
  } catch (...) {  // no memory for a frame: the channel closes with its connection
  }
}

void PublishWindow::close() noexcept {
  try {
    const auto channel = take_channel();
    connection_->end_trial(this);
    if (channel) channel->close(connection_->operation_deadline());
  } catch (...) {  // no answer in time: the channel closes with its connection
  }
}

}  // namespace warren::inline v0::engine
