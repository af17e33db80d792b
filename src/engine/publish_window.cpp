#include "engine/publish_window.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "engine/deadline.hpp"
#include "engine/no_memory.hpp"
#include "wire/scratch.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t large_buffer = 64 * 1024;  // one above that is kept only within window_bytes
constexpr auto log_interval = 1s;                // between two lines on failures that nobody saw

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

// What the caller is told of a slot that failed.
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

bool has_failed(PublishOutcome outcome) {
  return outcome != PublishOutcome::pending && outcome != PublishOutcome::confirmed;
}

}  // namespace

PublishWindow::PublishWindow(std::shared_ptr<ConnectionCore> connection, PublisherOptions options)
    : connection_(std::move(connection)), options_(std::move(options)) {}

PublishWindow::~PublishWindow() { log_unseen(Clock::now()); }

void PublishWindow::open() {
  connection_->add(weak_from_this());  // before the first loss that it could miss
  Lock lock(mutex_);
  ensure_channel(lock, connection_->operation_deadline());
}

// In confirm mode.
std::shared_ptr<ChannelCore> PublishWindow::open_channel(Deadline deadline, ConnectionCore::Access access) {
  auto channel = connection_->open_channel(deadline, weak_from_this(), access);
  try {
    channel->call("confirm.select", wire::id::confirm_select_ok, deadline, wire::confirm_select);
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

// One try. There is no channel afterwards if the connection was lost meanwhile.
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
    details.in_doubt = false;  // whatever became of the channel: nothing was published
    if (Clock::now() >= deadline) {
      try {
        throw ConnectionError(std::move(details));
      } catch (...) {  // no memory for it, maybe
        failure = std::current_exception();
      }
    }
    std::this_thread::yield();  // the I/O thread is about to say that it is lost, and why
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  if (!take(std::move(channel))) step(PublisherEvent::open_failed);
  changed_.notify_all();
  if (failure) std::rethrow_exception(failure);
}

// Uses a channel that was opened without the lock. False if it is null, or of no use any more.
bool PublishWindow::take(std::shared_ptr<ChannelCore> channel) {
  if (!channel) return false;
  // If it was closed in the meantime, on_closed came and found nothing to do.
  if (state_ == PublisherState::closed || !channel->is_open()) {
    channel->give_up();
    return false;
  }
  use(std::move(channel));
  advance();
  return true;
}

// Whether the next channel comes without a caller's doing. A recovery that failed may have passed this one
// by.
bool PublishWindow::is_coming() {
  if (comes_by_itself(state_) && state_ != PublisherState::reopening &&
      connection_->state() == ConnectionState::open) {
    step(PublisherEvent::connection_open);
  }
  return comes_by_itself(state_);
}

// What waits to be sent has no channel, and none comes, since no number was free, say: whoever waits opens
// one.
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

// Returns with a channel, or where one comes; with room in the window, and no alarm.
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

  wire::Scratch<ContentFrames> scratch;  // swapped with a slot's, so that neither allocates for long
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
      // The connection is lost, and on_closed on its way: what follows depends on what becomes of it.
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

// Numbers and appends it. Without a slot the outbox did not take it, and `frames` are as they were.
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
  // Numbered where it is appended: the order on the wire and that of the numbers can't differ.
  auto admission = Outbox::Admission::closed;
  try {
    admission = connection_->outbox().append(entry, slot.frames, [&] {
      tracker_.add(&slot);
      // Those of the slot's last message: it may still be written.
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

// For the next channel, or once those before it have been sent.
PublishSlot* PublishWindow::enqueue(ContentFrames& frames, std::uint32_t frame_max, std::int64_t stamp,
                                    Deadline deadline) {
  PublishSlot& slot = acquire();
  resend_.push_back(&slot);
  std::swap(slot.frames, frames);
  frames.bytes.reset();  // those of the slot's last message may still be written
  slot.stamp = stamp;
  slot.frame_max = frame_max;
  slot.deadline = deadline;
  slot.in_window = true;
  bytes_ += slot.frames.size();
  next_expiry_ = std::min(next_expiry_, deadline);
  advance();
  return &slot;
}

// So that neither drop() nor the loss of the channel allocates.
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

// Puts a slot back once neither the broker's answer nor its caller refers to it.
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

void PublishWindow::settle(PublishSlot& slot, PublishOutcome outcome, const ErrorDetails* error) noexcept {
  slot.in_window = false;
  bytes_ -= slot.frames.size();
  slot.frames.body.reset();
  if (slot.expired) {
    slot.expired = false;
    --expired_;
    // Better late than unknown, if nobody was told yet.
    if (!slot.final && outcome != PublishOutcome::unknown && slot.outcome == PublishOutcome::unknown) {
      slot.outcome = PublishOutcome::pending;
      slot.error.reset();
    }
  }
  if (slot.outcome == PublishOutcome::pending) {  // else it was returned, and the ack says nothing more
    slot.outcome = outcome;
    if (error != nullptr) slot.error = try_to_keep([&] { return *error; });
  }
  if (slot.call) tell(slot);
  if (slot.waiting) slot.settled.notify_all();
  drop(slot);
}

// Has the callback called with the outcome, which is final by that.
void PublishWindow::tell(PublishSlot& slot) noexcept {
  slot.seen = true;
  slot.final = true;
  slot.call->outcome = slot.outcome;
  if (has_failed(slot.outcome)) slot.call->error = error_of(slot);
  --untold_;
  slot.call.reset();  // `tell` has it
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
  } catch (...) {  // as on the events' thread
  }
}

// With the lock held. Nobody may wait for a publish that has a callback, and while the connection is lost
// nothing ticks: so the events' thread ends it at its deadline.
void PublishWindow::watch_deadlines(Deadline first) {
  if (first >= next_watch_) return;
  connection_->events().call_at(first, [weak = weak_from_this(), first] {
    const auto window = weak.lock();
    if (!window) return;
    const std::lock_guard lock(window->mutex_);
    if (window->next_watch_ != first) return;  // an earlier one came since
    window->next_watch_ = Deadline::max();
    window->expire(Clock::now());
    if (window->untold_ != 0) window->watch_deadlines(window->next_expiry_);
  });
  next_watch_ = first;
}

// Whether to wake one of those that wait for room, where no more than that is in flight. One at a time: who
// is woken goes on until the window is full again, mostly, and to wake all for it costs more than it brings.
// Who has no use for the room passes it on, and so does who waits for a confirm; else the next confirm does.
bool PublishWindow::takes_next(std::size_t most_in_flight, std::size_t most_bytes) noexcept {
  if (waiting_for_room_ == 0 || next_is_woken_) return false;
  next_is_woken_ = open_publishes() <= most_in_flight && bytes_ <= most_bytes;
  return next_is_woken_;
}

void PublishWindow::pass_on_room() noexcept {
  if (takes_next(options_.window - 1, options_.window_bytes)) room_.notify_one();
}

bool PublishWindow::on_confirm(std::uint64_t tag, bool multiple, bool acknowledged) {
  // Who is woken under the lock runs into it and sleeps again, so most are told after it. Slots live as long
  // as the window: the worst is to wake another publish's waiter, who looks for himself.
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
      slot->waiting = false;  // told below
      awaited[count++] = slot;
    }
    if (!missing_.empty()) std::erase(missing_, exchange_of(slot->frames));  // it is there again
    settle(*slot, acknowledged ? PublishOutcome::confirmed : PublishOutcome::nacked,
           refused ? &*refused : nullptr);
  });
  // At half a window rather than at the first free slot: a publisher woken for each message costs more.
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

void PublishWindow::on_unblocked() {
  const std::lock_guard lock(mutex_);
  room_.notify_all();
}

PublishOutcome PublishWindow::outcome(PublishSlot& slot) {
  const std::lock_guard lock(mutex_);
  if (slot.in_window) expire(Clock::now());
  // A return is followed by the ack of its message: until then nothing is settled.
  if (slot.in_window && !slot.expired) return PublishOutcome::pending;
  slot.seen = true;
  slot.final = true;
  return slot.outcome;
}

bool PublishWindow::wait(PublishSlot& slot, Deadline until) {
  Lock lock(mutex_);
  pass_on_room();
  until = std::min(until, slot.deadline);
  revive(lock, until);
  slot.waiting = true;
  const bool settled = slot.settled.wait_until(lock, until, [&] { return !slot.in_window; });
  slot.waiting = false;
  const auto now = Clock::now();
  // Of a mere look ahead of the deadline nothing is known: how it ends is still to be seen.
  slot.seen = settled || now >= slot.deadline;
  if (!settled) expire(now);
  // What was never sent has ended here and says why.
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

// Ends what is past its deadline. Those that the broker may still confirm stay in the window until it does,
// or can't any more; the others leave it.
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

// Nobody looks at this failure any more: the next flush() throws it, if it is the first, and the log tells.
void PublishWindow::note_unseen(PublishSlot& slot) noexcept {
  slot.seen = true;
  ErrorDetails error = error_of(slot);
  if (!unseen_) unseen_ = Failure{slot.outcome, kept(error)};
  ++unlogged_[static_cast<std::size_t>(slot.outcome)];
  ++unseen_count_;
  unlogged_reason_ = std::move(error.text);
  const auto now = Clock::now();
  if (now >= next_log_) return log_unseen(now);
  // Not one line for each: the tick tells how many there were.
  if (channel_) connection_->request_tick(channel_);
}

void PublishWindow::log_unseen(Deadline now) noexcept {
  static constexpr std::array<const char*, 6> names{"pending",  "confirmed", "nacked",
                                                    "returned", "refused",   "unknown"};
  const auto unlogged = std::exchange(unlogged_, {});
  if (std::ranges::all_of(unlogged, [](std::size_t count) { return count == 0; })) return;
  next_log_ = now + log_interval;
  connection_->events().log(LogLevel::error, [&] {
    std::size_t count = 0;
    std::string by_outcome;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (unlogged[i] == 0) continue;
      count += unlogged[i];
      by_outcome += fmt::format("{}{} {}", by_outcome.empty() ? "" : ", ", unlogged[i], names[i]);
    }
    return fmt::format(
        "publisher to exchange \"{}\": {} publishes failed, and their Confirmations were dropped: {} "
        "({} since it was made). The last one: {}",
        options_.exchange, count, by_outcome, unseen_count_, unlogged_reason_);
  });
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
  } catch (...) {  // no memory for a frame: the connection's end closes it
  }
}

void PublishWindow::close() noexcept {
  try {
    const auto channel = take_channel();
    connection_->end_trial(this);
    if (channel) channel->close(connection_->operation_deadline());
  } catch (...) {  // no answer in time: likewise
  }
}

}  // namespace warren::inline v0::engine
