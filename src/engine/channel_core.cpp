#include "engine/channel_core.hpp"

#include <fmt/format.h>

#include <new>
#include <utility>

#include <warren/reply_code.hpp>

#include "engine/no_memory.hpp"
#include "wire/malformed.hpp"
#include "wire/status.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

[[noreturn]] void raise(const ErrorDetails& error, const std::string& operation) {
  ErrorDetails details = error;
  details.operation = operation;
  if (details.scope == ErrorScope::connection) throw ConnectionError(std::move(details));
  throw ChannelError(std::move(details));
}

bool answers(std::uint32_t method, std::uint32_t expected) {
  return method == expected || (expected == id::basic_get_ok && method == id::basic_get_empty);
}

// How many prefetches a correct broker may leave unsettled at once. More than one is possible: a quorum queue
// delivers again after each loss of contact between its leader and the client's node.
constexpr std::size_t prefetches = 4;
constexpr std::size_t spare_deliveries = 16;
// A stream of RabbitMQ 3.10 delivers whole chunks, and the last chunk may exceed the prefetch. A chunk has up
// to 2^16 entries, and each entry may be a batch of messages.
constexpr std::size_t most_of_chunk = std::size_t{1} << 20;
constexpr std::size_t bytes_of_chunk = std::size_t{512} << 20;
constexpr std::size_t bytes_of_answer = 21;  // basic.ack, basic.nack and basic.reject

std::size_t most_unsettled(std::size_t allowed, bool is_stream) {
  return prefetches * allowed + (is_stream ? most_of_chunk : spare_deliveries);
}

// A function, not an object: an object would be destroyed before a channel that lives until the program ends.
ErrorDetails closed_by_us() { return {.text = "the channel is closed", .scope = ErrorScope::channel}; }
ErrorDetails retired() {
  return {.text = "the broker cancelled the subscription: the message comes again",
          .scope = ErrorScope::channel};
}

void check(AckTracker::Settlement settlement, const char* operation, std::uint64_t tag) {
  if (settlement == AckTracker::Settlement::accepted) return;
  throw InvalidArgument({.operation = operation,
                         .text = settlement == AckTracker::Settlement::already_settled
                                     ? fmt::format("delivery {} was settled before", tag)
                                     : fmt::format("there is no delivery {}", tag),
                         .permanent = true});
}

}  // namespace

void ChannelCore::set_sink(std::weak_ptr<ChannelSink> sink) {
  const std::lock_guard lock(mutex_);
  sink_ = std::move(sink);
}

std::shared_ptr<ChannelSink> ChannelCore::sink() const {
  const std::lock_guard lock(mutex_);
  return sink_.lock();
}

bool ChannelCore::is_open() const {
  const std::lock_guard lock(mutex_);
  return !error_ && !closing_;
}

bool ChannelCore::is_lost() const {
  const std::lock_guard lock(mutex_);
  return error_ && error_->scope == ErrorScope::connection;
}

void ChannelCore::check_open(const std::string& operation) const {
  if (error_) raise(*error_, operation);
  if (closing_) raise(closed_by_us(), operation);
}

void ChannelCore::check_settles(const char* operation) const {
  check_open(operation);
  if (retired_) raise(retired(), operation);
}

void ChannelCore::refuse_frame(const std::string& operation) const {
  throw InvalidArgument({.operation = operation,
                         .text = fmt::format("the arguments do not fit one frame of {} bytes", frame_max_),
                         .permanent = true});
}

Reply ChannelCore::finish(const Call& call, const std::string& operation, Deadline deadline) {
  Waiter& waiter = *call;
  std::unique_lock lock(mutex_);
  if (!waiter.answered.wait_until(lock, deadline, [&] { return waiter.done; })) {
    // The waiter stays in the queue, so that later answers still find their callers.
    waiter.given_up = true;
    throw TimeoutError({.operation = operation, .text = "no answer before the deadline", .in_doubt = true});
  }
  if (waiter.error) raise(*waiter.error, operation);
  return std::move(waiter.reply);
}

std::shared_ptr<ChannelCore::Waiter> ChannelCore::send_close() {
  if (error_ || closing_) return nullptr;
  auto waiter = std::make_shared<Waiter>();
  waiter->expected = id::channel_close_ok;
  append_acks();
  waiters_.push_back(waiter);
  closing_ = true;
  auto admission = Outbox::Admission::closed;
  try {
    admission = outbox_.append(Outbox::Entry::control, [&](Bytes& out) {
      wire::channel_close(out, number_, reply_code::success, "bye");
    });
  } catch (...) {
    waiters_.pop_back();
    throw;
  }
  if (admission != Outbox::Admission::closed) return waiter;
  waiters_.pop_back();
  return nullptr;
}

void ChannelCore::begin_close() noexcept {
  const std::lock_guard lock(mutex_);
  or_break_off([&] { send_close(); });
}

void ChannelCore::give_up() noexcept {
  const std::lock_guard lock(mutex_);
  sink_.reset();
  or_break_off([&] { send_close(); });
}

void ChannelCore::retire() {
  const std::lock_guard lock(mutex_);
  if (!error_ && !closing_) append_acks();
  retired_ = true;
  usable_.store(false, std::memory_order_release);
  tell_settled();
  sink_.reset();
}

void ChannelCore::give_back_unsettled() noexcept {
  const std::lock_guard lock(mutex_);
  if (error_ || closing_) return;
  append_acks();
  if (is_stream_ || acks_.unsettled() == 0) return;
  acks_.settle_all();
  tell_settled();
  or_break_off([&] {
    // Tag 0 means all outstanding deliveries. The broker may have returned some of them to the queue already.
    outbox_.append(answer_entry(), [&](Bytes& out) {
      wire::basic_nack(out, number_, 0, /*multiple=*/true, /*requeue=*/true);
    });
  });
}

void ChannelCore::set_stream() {
  const std::lock_guard lock(mutex_);
  is_stream_ = true;
}

void ChannelCore::expect_deliveries(std::uint16_t prefetch) {
  const std::lock_guard lock(mutex_);
  allowed_ = acks_.unsettled() + prefetch;
  bytes_beyond_ = 0;
}

std::size_t ChannelCore::most_answers() const {
  const std::lock_guard lock(mutex_);
  return allowed_ == no_consumer ? 0 : bytes_of_answer * most_unsettled(allowed_, /*is_stream=*/false);
}

// Checks a delivery beyond the prefetch; called with the lock held. Deliveries that this client has not
// settled are counted. The broker may not have read an acknowledgement yet, but then it only delivers less.
void ChannelCore::check_prefetch(const Content& content) {
  if (acks_.unsettled() == allowed_ + 1) bytes_beyond_ = 0;
  bytes_beyond_ += content.delivery.body().size();
  if (acks_.unsettled() <= most_unsettled(allowed_, is_stream_) &&
      (!is_stream_ || bytes_beyond_ <= bytes_of_chunk)) {
    return;
  }
  throw wire::MalformedFrame(
      fmt::format("{} deliveries are unsettled on channel {}, where at most {} were asked for (basic.qos)",
                  acks_.unsettled(), number_, allowed_));
}

std::uint64_t ChannelCore::lowest_unsettled() const {
  const std::lock_guard lock(mutex_);
  return acks_.lowest_unsettled();
}

ChannelCore::Oldest ChannelCore::oldest_unsettled() const {
  const std::lock_guard lock(mutex_);
  if (acks_.unsettled() == 0) return {};
  return {.unsettled = acks_.unsettled(),
          .held = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                        oldest_since_)};
}

// Called once a batch, and for the first delivery after none was unsettled, so that the clock is not read for
// each message.
void ChannelCore::note_oldest() {
  const std::uint64_t oldest = acks_.lowest_unsettled();
  if (oldest == oldest_) return;
  oldest_ = oldest;
  oldest_since_ = std::chrono::steady_clock::now();
}

void ChannelCore::close(Deadline deadline) {
  std::unique_lock lock(mutex_);
  std::shared_ptr<Waiter> waiter;
  try {
    waiter = send_close();
  } catch (...) {  // otherwise the broker would keep the channel and its deliveries
    outbox_.break_off();
    throw;
  }
  if (!waiter) return;
  if (!waiter->answered.wait_until(lock, deadline, [&] { return waiter->done; })) {
    throw TimeoutError(
        {.operation = "channel.close", .text = "no answer before the deadline", .in_doubt = true});
  }
}

std::optional<ChannelCore::Settlement> ChannelCore::acknowledge_later(std::uint64_t tag,
                                                                      std::size_t at_most) {
  std::unique_lock lock(mutex_);
  if (error_ || closing_ || retired_) return std::nullopt;
  const Settlement settlement = acks_.acknowledge(tag);
  tell_settled();
  if (acks_.pending() >= at_most) append_acks();
  if (ticking_ || ticker_ == nullptr) return settlement;
  // No tick is due soon. This acknowledgement is sent now, and later ones wait for the tick.
  append_acks();
  ticking_ = true;
  lock.unlock();
  if (!ticker_->request_tick(shared_from_this())) {
    lock.lock();
    ticking_ = false;
  }
  return settlement;
}

bool ChannelCore::flush_acks() {
  const std::lock_guard lock(mutex_);
  if (error_ || closing_ || acks_.pending() == 0) return false;
  append_acks();
  return true;
}

void ChannelCore::append_acks() noexcept {
  if (acks_.pending() == 0) return;
  or_break_off([&] {  // the broker redelivers the unsettled messages once the connection is lost
    merged_.clear();
    acks_.flush(merged_);
    note_oldest();
    outbox_.append(answer_entry(), [&](Bytes& out) {
      for (const AckTracker::Ack& ack : merged_)
        wire::basic_ack(out, number_, ack.delivery_tag, ack.multiple);
    });
  });
}

void ChannelCore::acknowledge(std::uint64_t tag, bool multiple) {
  const std::lock_guard lock(mutex_);
  check_settles("basic.ack");
  check(multiple ? acks_.acknowledge_up_to(tag) : acks_.acknowledge(tag), "basic.ack", tag);
  tell_settled();
  append_acks();
}

void ChannelCore::refuse(std::uint64_t tag, bool requeue, bool reject) {
  const char* operation = reject ? "basic.reject" : "basic.nack";
  const std::lock_guard lock(mutex_);
  check_settles(operation);
  if (is_stream_) {
    throw InvalidArgument({.operation = operation,
                           .text =
                               "a stream has no basic.nack and no basic.reject, and RabbitMQ 3.10 closes the "
                               "connection for one. Acknowledge the message, or leave it unsettled",
                           .permanent = true});
  }
  check(acks_.settle(tag), operation, tag);
  tell_settled();
  try {
    append(operation, answer_entry(), [&](Bytes& out, std::uint16_t number) {
      if (reject) {
        wire::basic_reject(out, number, tag, requeue);
      } else {
        wire::basic_nack(out, number, tag, false, requeue);
      }
    });
  } catch (const std::bad_alloc&) {
    outbox_.break_off();  // the message is redelivered
    throw;
  }
}

void ChannelCore::settled_by_broker(std::uint64_t tag) {
  const std::lock_guard lock(mutex_);
  acks_.settle(tag);
  tell_settled();
}

bool ChannelCore::is_unsettled(std::uint64_t tag) const {
  const std::lock_guard lock(mutex_);
  return acks_.is_unsettled(tag);
}

std::size_t ChannelCore::await_settled(std::uint64_t tag, Deadline deadline) {
  std::unique_lock lock(mutex_);
  settlements_awaited_ = true;
  const auto left = [&] { return error_ || closing_ || retired_ ? 0 : acks_.unsettled_up_to(tag); };
  settled_.wait_until(lock, deadline, [&] { return left() == 0; });
  return left();
}

// Called with the lock held.
void ChannelCore::check_expected(std::uint32_t method) const {
  if (waiters_.empty() || !answers(method, waiters_.front()->expected)) {
    throw wire::MalformedFrame(fmt::format("an answer {:#010x} that nobody asked for", method));
  }
}

void ChannelCore::answer(Reply reply) {
  std::unique_lock lock(mutex_);
  check_expected(reply.method);
  consumes_ = consumes_ || reply.method == id::basic_consume_ok;
  confirms_ = confirms_ || reply.method == id::confirm_select_ok;
  Waiter& waiter = *waiters_.front();
  if (waiter.given_up && reply.content) {
    const std::uint64_t tag = reply.content->delivery.delivery_tag();
    acks_.settle(tag);
    // After our own channel.close, a basic.nack would end the connection. The broker then requeues the
    // message anyway.
    if (waiter.late == LateDelivery::requeue && !closing_) {
      outbox_.append(Outbox::Entry::control,
                     [&](Bytes& out) { wire::basic_nack(out, number_, tag, false, true); });
    }
  }
  waiter.reply = std::move(reply);
  waiter.done = true;
  waiter.answered.notify_all();
  const auto told = waiter.told ? sink_.lock() : nullptr;
  waiters_.pop_front();
  lock.unlock();
  if (told) told->on_answered();
}

// False if nothing was done because our own close is in progress.
bool ChannelCore::refuse_all(const ErrorDetails& error, Unless unless) noexcept {
  assembler_.reset();
  std::shared_ptr<ChannelSink> sink;
  {
    // Check and change under one lock. Otherwise our own channel.close could come in between, and follow the
    // close-ok.
    const std::lock_guard lock(mutex_);
    if (closing_ && unless == Unless::closing) return false;
    if (error_) return true;
    error_ = kept(error);
    usable_.store(false, std::memory_order_release);
    tell_settled();
    sink = sink_.lock();
  }
  or_break_off([&] {  // the library's own sinks need no memory
    if (sink) sink->on_closed(error);
  });
  return true;
}

void ChannelCore::fail_waiters() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& waiter : waiters_) {
    waiter->error = kept(*error_);
    // For a closed channel, the broker tells which call failed. For a lost connection, the outcome of each
    // call is unknown.
    waiter->error->in_doubt = error_->scope == ErrorScope::connection;
    waiter->done = true;
    waiter->answered.notify_all();
  }
  waiters_.clear();
}

void ChannelCore::fail(const ErrorDetails& error) noexcept {
  refuse_all(error);
  fail_waiters();
}

ChannelCore::After ChannelCore::on_frame(const wire::Frame& frame, wire::MethodDecoder& decoder) {
  if (frame.type == wire::FrameType::method) {
    const wire::InboundMethod method = decoder.decode(frame.payload);
    if (!opened_) check_opening(method);
    return on_method(method);
  }
  if (!opened_) throw wire::MalformedFrame("a message on a channel that is not open yet");
  if (ContentAssembler::ContentPtr content = assembler_.add(frame)) complete(std::move(content));
  return After::nothing;
}

void ChannelCore::complete(ContentAssembler::ContentPtr content) {
  std::shared_ptr<ChannelSink> sink;
  {
    const std::lock_guard lock(mutex_);
    if (content->method != id::basic_return && !acks_.delivered(content->delivery.delivery_tag())) {
      throw wire::MalformedFrame("a delivery out of turn");
    }
    if (acks_.unsettled() == 1) note_oldest();
    if (acks_.unsettled() > allowed_) check_prefetch(*content);
    sink = sink_.lock();
  }
  if (content->method == id::basic_get_ok) {
    Reply reply{.method = content->method};
    reply.content = std::move(content);
    answer(std::move(reply));
  } else if (!sink) {
    assembler_.recycle(std::move(content));
  } else if (content->method == id::basic_return) {
    sink->on_return(std::move(content));
  } else {
    has_arrivals_ = true;
    sink->on_delivery(std::move(content));
  }
}

bool ChannelCore::end_turn() {
  has_arrivals_ = false;
  std::shared_ptr<ChannelSink> sink;
  {
    const std::lock_guard lock(mutex_);
    sink = sink_.lock();
    if (!sink) return false;
    ticking_ = arrived_since_tick_ = true;  // set before any thread can acknowledge these deliveries
  }
  sink->on_turn_end(spare_);
  for (auto& content : spare_) assembler_.recycle(std::move(content));
  spare_.clear();
  return true;
}

void ChannelCore::forgotten() {
  if (const auto sink = this->sink()) sink->on_forgotten();
}

bool ChannelCore::tick() {
  std::shared_ptr<ChannelSink> sink;
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    sink = sink_.lock();
    const bool gathered = !error_ && !closing_ && acks_.pending() != 0;
    if (gathered) append_acks();
    // The deliveries since the last tick are still being handled. If the ticks stopped now, each of their
    // acknowledgements would be sent alone.
    again = ticking_ = std::exchange(arrived_since_tick_, false) || gathered;
  }
  const bool wanted = sink && sink->on_tick();
  return again || wanted;
}

void ChannelCore::unblocked() {
  if (const auto sink = this->sink()) sink->on_unblocked();
}

ChannelCore::After ChannelCore::on_close(const wire::InboundMethod& method) {
  const ErrorDetails error{.code = method.code,
                           .text = std::string(method.text),
                           .scope = ErrorScope::channel,
                           .permanent = wire::is_permanent_channel_close(method.code, method.text)};
  if (std::exchange(closed_by_broker_, true)) throw wire::MalformedFrame("a second channel.close");
  if (refuse_all(error, Unless::closing)) return After::send_close_ok;
  // Both sides closed at once. Only the answer to our own close is still to come.
  const std::lock_guard lock(mutex_);
  while (waiters_.size() > 1) {
    Waiter& waiter = *waiters_.front();
    waiter.error = error;
    waiter.done = true;
    waiter.answered.notify_all();
    waiters_.pop_front();
  }
  return After::answer_close;
}

// Checks a method that arrives before the channel is open. The broker cannot answer before it could read the
// channel.open. So a broker that closes a channel again and again must read one channel.open each time.
void ChannelCore::check_opening(const wire::InboundMethod& method) {
  if (method.id != id::channel_open_ok && method.id != id::channel_close &&
      method.id != id::channel_close_ok) {
    throw wire::MalformedFrame(
        fmt::format("method {:#010x} on a channel that is not open yet (channel.open-ok)", method.id));
  }
  std::uint64_t end = 0;
  {
    const std::lock_guard lock(mutex_);
    end = open_end_;
  }
  if (!outbox_.is_written(end)) throw wire::MalformedFrame("an answer to a channel.open that was not sent");
  opened_ = method.id == id::channel_open_ok;
}

ChannelCore::After ChannelCore::on_method(const wire::InboundMethod& method) {
  // channel.close may arrive at any time, even within a content.
  if (method.id == id::channel_close) return on_close(method);
  if (assembler_.open()) throw wire::MalformedFrame("a method within a message on the same channel");

  switch (method.id) {
    case id::basic_deliver:
    case id::basic_return:
    case id::basic_get_ok:
      if (method.id == id::basic_deliver && !consumes_) {
        throw wire::MalformedFrame("a delivery on a channel without a consumer (basic.consume-ok)");
      }
      if (method.id == id::basic_return && !confirms_) {
        throw wire::MalformedFrame("a returned message on a channel without a publisher");
      }
      if (method.id == id::basic_get_ok) {
        const std::lock_guard lock(mutex_);
        check_expected(method.id);
      }
      if (!assembles_) assembler_.set_channel(weak_from_this());
      assembles_ = true;
      assembler_.begin(method);
      return After::nothing;
    case id::channel_close_ok:
      if (is_open()) throw wire::MalformedFrame("a close-ok that nobody asked for");
      refuse_all(closed_by_us());
      return After::closed;
    case id::channel_flow:
      return After::nothing;  // RabbitMQ does not send it
    case id::basic_cancel:
      if (!consumes_) throw wire::MalformedFrame("a basic.cancel on a channel without a consumer");
      if (const auto sink = this->sink()) sink->on_cancel(method.name);
      return After::nothing;
    case id::basic_ack:
    case id::basic_nack:
      if (!confirms_) throw wire::MalformedFrame("a confirm on a channel that asked for none");
      if (const auto sink = this->sink();
          sink && !sink->on_confirm(method.delivery_tag, method.multiple, method.id == id::basic_ack)) {
        throw wire::MalformedFrame("a confirm for a number that was never given out");
      }
      return After::nothing;
    default:
      answer({.method = method.id,
              .name = std::string(method.name),
              .message_count = method.message_count,
              .consumer_count = method.consumer_count});
      return After::nothing;
  }
}

}  // namespace warren::inline v0::engine
