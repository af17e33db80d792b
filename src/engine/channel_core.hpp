#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <warren/error.hpp>

#include "engine/ack_tracker.hpp"
#include "engine/content_assembler.hpp"
#include "engine/outbox.hpp"
#include "wire/method_decoder.hpp"
#include "wire/methods.hpp"

namespace warren::inline v0::engine {

/// What a channel tells its publisher or consumer. Called on the I/O thread, with no lock of the channel's
/// held. Nothing but its end is told before the broker has opened the channel; no delivery and no
/// cancellation before its basic.consume-ok, and no confirm and no return before its confirm.select-ok.
class ChannelSink {
 public:
  virtual ~ChannelSink() = default;
  virtual void on_delivery(ContentAssembler::ContentPtr) {}
  /// After the deliveries of one turn. `spare` takes contents back for their memory.
  virtual void on_turn_end(std::vector<ContentAssembler::ContentPtr>& /*spare*/) {}
  /// Within ack_delay of a Ticker::request_tick(). True asks for the next one.
  virtual bool on_tick() { return false; }
  virtual void on_return(ContentAssembler::ContentPtr) {}
  /// basic.ack and basic.nack. False is a fault of the broker's: such a number was never given out.
  virtual bool on_confirm(std::uint64_t /*tag*/, bool /*multiple*/, bool /*acknowledged*/) { return true; }
  /// The answer to a ChannelCore::post() that asked for it.
  virtual void on_answered() {}
  /// The broker ended the subscription (basic.cancel).
  virtual void on_cancel(std::string_view /*consumer_tag*/) {}
  /// The broker takes publishes again (connection.unblocked).
  virtual void on_unblocked() {}
  /// The channel takes nothing more. Its last call but on_forgotten(); nothing may be appended for it after
  /// this has returned. Must not throw, since it is part of losing a connection for a lack of memory.
  virtual void on_closed(const ErrorDetails&) {}
  /// After on_closed(), where the broker closed the channel: its number is free again.
  virtual void on_forgotten() {}
};

/// How long an acknowledgement may wait for others to be merged with.
inline constexpr std::chrono::milliseconds ack_delay{5};

class ChannelCore;

/// Has the I/O thread come by a channel soon.
class Ticker {
 public:
  /// Asks for ChannelCore::tick() within ack_delay. Any thread, with no lock of the channel's held.
  /// @returns false if there is no memory to ask with
  virtual bool request_tick(std::shared_ptr<ChannelCore> channel) noexcept = 0;

 protected:
  ~Ticker() = default;
};

/// What the broker answered to a synchronous method.
struct Reply {
  std::uint32_t method = 0;
  std::string name{};  ///< queue or consumer tag
  std::uint32_t message_count = 0;
  std::uint32_t consumer_count = 0;
  ContentAssembler::ContentPtr content{};  ///< of basic.get-ok
};

/// One channel: its state, who waits for which answer, and what is to be settled. One generation: where it is
/// gone, another one takes its place, so that what was delivered on this one can't be settled there.
///
/// Any thread calls, the I/O thread answers. Answers come in the order of the calls (AMQP 0-9-1
/// section 2.2.1), so that calls of many threads may be under way at once.
class ChannelCore : public std::enable_shared_from_this<ChannelCore> {
  struct Waiter;

 public:
  using Deadline = std::chrono::steady_clock::time_point;

  /// @param ticker  sees to it that acknowledgements go out; null: whoever acknowledges flushes
  ChannelCore(Outbox& outbox, std::uint16_t number, std::uint32_t frame_max, Ticker* ticker = nullptr)
      : outbox_(outbox), ticker_(ticker), number_(number), frame_max_(frame_max) {}

  [[nodiscard]] const OwnProcess& process() const noexcept { return process_; }
  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  [[nodiscard]] std::uint32_t frame_max() const noexcept { return frame_max_; }
  /// Before the first delivery or confirm can come.
  void set_sink(std::weak_ptr<ChannelSink> sink);

  /// What becomes of a message that basic.get brings after its caller gave up.
  enum class LateDelivery { keep, requeue };

  /// Sends a method and waits for its answer. `encode(Bytes&, channel)` appends one frame or throws.
  /// @throws ChannelError, ConnectionError  the channel or connection is gone
  /// @throws TimeoutError                   in doubt: the answer may still come, and is then dropped
  /// @throws InvalidArgument                the frame is above frame_max
  template <typename Encode>
  Reply call(const std::string& operation, std::uint32_t expected, Deadline deadline, Encode&& encode,
             LateDelivery late = LateDelivery::keep) {
    return finish(begin(operation, expected, encode, late), operation, deadline);
  }

  /// A call that was sent, for finish().
  using Call = std::shared_ptr<Waiter>;
  /// The first half of call(): sends the method, and does not wait, so that many are in flight.
  /// @throws ChannelError, ConnectionError, InvalidArgument  as call()
  template <typename Encode>
  Call begin(const std::string& operation, std::uint32_t expected, Encode&& encode,
             LateDelivery late = LateDelivery::keep) {
    auto waiter = std::make_shared<Waiter>();
    waiter->expected = expected;
    waiter->late = late;
    const std::lock_guard lock(mutex_);
    check_open(operation);
    waiters_.push_back(waiter);
    try {
      const auto bounded = [&](Bytes& out, std::uint16_t number) {
        const std::size_t before = out.size();
        encode(out, number);
        if (out.size() - before <= frame_max_) return;
        out.resize(before);
        refuse_frame(operation);
      };
      append(operation, Outbox::Entry::control, bounded, end_of_open(expected));
    } catch (...) {
      waiters_.pop_back();
      throw;
    }
    return waiter;
  }
  /// The second half of call(): waits for the answer. Where the broker closed the channel, the first call
  /// without an answer is the one that it refused; it ignored those behind it.
  /// @throws ChannelError, ConnectionError, TimeoutError  as call()
  Reply finish(const Call& call, const std::string& operation, Deadline deadline);

  /// What becomes of the answer to a post().
  enum class Answer { ignored, told };
  /// Sends a method and does not wait for its answer.
  /// @returns false where the channel or the connection is gone
  template <typename Encode>
  bool post(std::uint32_t expected, Answer answer, Encode&& encode) {
    auto waiter = std::make_shared<Waiter>();
    waiter->expected = expected;
    waiter->given_up = true;
    waiter->told = answer == Answer::told;
    const std::lock_guard lock(mutex_);
    if (error_ || closing_) return false;
    waiters_.push_back(std::move(waiter));
    auto admission = Outbox::Admission::closed;
    try {
      admission = outbox_.append(
          Outbox::Entry::control, [&](Bytes& out) { encode(out, number_); }, end_of_open(expected));
    } catch (...) {
      waiters_.pop_back();
      throw;
    }
    if (admission == Outbox::Admission::closed) waiters_.pop_back();
    return admission != Outbox::Admission::closed;
  }

  /// Appends frames that have no answer (a raw publish).
  /// @returns false where the outbox is full
  template <typename Encode>
  bool send(const std::string& operation, Outbox::Entry entry, Encode&& encode) {
    const std::lock_guard lock(mutex_);
    check_open(operation);
    return append(operation, entry, encode);
  }

  /// Sends channel.close, unless somebody did, and refuses what comes later. Does not wait. Without memory
  /// for the frame it ends the connection (Outbox::break_off).
  void begin_close() noexcept;
  /// The same, and its sink hears nothing more: what becomes of the channel is nobody's business.
  void give_up() noexcept;
  /// The broker cancelled its subscription: nothing that it delivered can be settled any more (the broker may
  /// have returned it to the queue), its sink hears nothing more, and calls go on.
  void retire();
  /// Sends what was acknowledged, then one basic.nack for all that is unsettled: nobody's failure, which a
  /// quorum queue does not count towards its delivery limit from RabbitMQ 4.3 on, unlike what a closed
  /// channel returns. On a stream it sends the acknowledgements alone. Does nothing if the channel takes
  /// nothing more.
  void give_back_unsettled() noexcept;
  /// What it consumes is a stream, which has no basic.nack and no basic.reject.
  void set_stream();
  /// Before its basic.consume: how many deliveries the broker may leave unsettled. Those that are unsettled
  /// now, of a subscription before, are left out of account. Far beyond that the broker breaks the protocol.
  void expect_deliveries(std::uint16_t prefetch);
  /// How many bytes of acknowledgements and refusals may wait, since the broker reads only later what it has
  /// caused.
  [[nodiscard]] std::size_t most_answers() const;
  /// The first delivery that nobody settled yet; if there is none, the next one's tag.
  [[nodiscard]] std::uint64_t lowest_unsettled() const;
  /// For how long the oldest unsettled delivery has been the oldest, which is at most its age.
  struct Oldest {
    std::size_t unsettled = 0;
    std::chrono::milliseconds held{0};
  };
  [[nodiscard]] Oldest oldest_unsettled() const;
  /// As begin_close(), and waits for the answer. Does nothing where the channel is gone.
  /// @throws TimeoutError
  void close(Deadline deadline);

  /// Whether calls can still succeed.
  [[nodiscard]] bool is_open() const;
  /// Why it is closed, in the words as they came: an Error's are escaped. Nothing while it is open.
  [[nodiscard]] std::optional<ErrorDetails> closed_by() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// The same, but for a close of our own: without a lock, to be asked with the outbox's held.
  [[nodiscard]] bool is_usable() const noexcept { return usable_.load(std::memory_order_acquire); }
  /// Whether its number will be free soon: a close is under way, from either side. Takes no lock.
  [[nodiscard]] bool is_closing() const noexcept {
    return closing_.load(std::memory_order_acquire) || !is_usable();
  }
  /// Whether its connection was lost: not the broker's answer to anything done here.
  [[nodiscard]] bool is_lost() const;

  // --- settling deliveries ---

  using Settlement = AckTracker::Settlement;
  /// Acknowledges now where `at_most` have gathered, or where the I/O thread does not come by within
  /// ack_delay anyway. Else with its tick(). Nullopt where the channel is gone. The caller keeps the
  /// connection alive.
  std::optional<Settlement> acknowledge_later(std::uint64_t tag, std::size_t at_most);
  /// Sends what acknowledge_later gathered, merged. False where that is nothing, or the channel is gone.
  bool flush_acks();
  /// Acknowledges now. @throws ChannelError, ConnectionError, InvalidArgument (settled before)
  void acknowledge(std::uint64_t tag, bool multiple);
  /// basic.nack, or basic.reject, now. Throws as acknowledge().
  void refuse(std::uint64_t tag, bool requeue, bool reject);
  /// The broker counts it as settled: it was sent without asking for an acknowledgement.
  void settled_by_broker(std::uint64_t tag);
  /// Whether nobody settled it yet.
  [[nodiscard]] bool is_unsettled(std::uint64_t tag) const;
  /// Blocks until every delivery up to this tag is settled, or until the deadline.
  /// @returns how many are not; 0 once the channel is gone, since nothing can be settled there
  [[nodiscard]] std::size_t await_settled(std::uint64_t tag, Deadline deadline);

  // --- the I/O thread's ---

  /// What the connection must do after a frame.
  enum class After {
    nothing,
    send_close_ok,  ///< then forget the channel, then fail_waiters()
    answer_close,   ///< send close-ok; our own close is still to be answered
    closed,         ///< forget the channel, then fail_waiters()
  };
  /// @throws wire::MalformedFrame  the connection is to be closed
  After on_frame(const wire::Frame& frame, wire::MethodDecoder& decoder);
  /// Whether deliveries came since the last end_turn(), which hands them over.
  [[nodiscard]] bool has_arrivals() const noexcept { return has_arrivals_; }
  /// True asks for tick().
  bool end_turn();
  /// Sends the acknowledgements that have gathered. True asks for the next one.
  bool tick();
  void unblocked();
  /// Fails everybody who waits: what they see of a closed channel is that its number is free.
  void fail_waiters() noexcept;
  /// Its number is free, and its end was the broker's.
  void forgotten();
  /// The connection is gone: fails everybody who waits, and everything that comes.
  void fail(const ErrorDetails& error) noexcept;

 private:
  struct Waiter {
    std::uint32_t expected = 0;
    LateDelivery late = LateDelivery::keep;
    bool given_up = false;
    bool told = false;  // of the answer to a post()
    bool done = false;
    std::optional<ErrorDetails> error{};
    Reply reply{};
    std::condition_variable answered{};
  };

  // Where the end of channel.open is to be noted, if that is what expects this answer.
  [[nodiscard]] std::uint64_t* end_of_open(std::uint32_t expected) noexcept {
    return expected == wire::id::channel_open_ok ? &open_end_ : nullptr;
  }
  void check_open(const std::string& operation) const;
  [[noreturn]] void refuse_frame(const std::string& operation) const;
  template <typename Encode>
  bool append(const std::string& operation, Outbox::Entry entry, Encode&& encode,
              std::uint64_t* end = nullptr) {
    switch (outbox_.append(
        entry, [&](Bytes& out) { encode(out, number_); }, end)) {
      case Outbox::Admission::accepted:
        return true;
      case Outbox::Admission::full:
        return false;
      case Outbox::Admission::closed:
        break;
    }
    throw ConnectionError(
        {.operation = operation, .text = "the connection is closed", .scope = ErrorScope::connection});
  }
  void check_settles(const char* operation) const;
  // A step that finds no memory ends the connection: the broker waits for it.
  template <typename Step>
  void or_break_off(Step&& step) noexcept {
    try {
      step();
    } catch (...) {
      outbox_.break_off();
    }
  }
  std::shared_ptr<Waiter> send_close();
  void append_acks() noexcept;
  void tell_settled() {
    if (settlements_awaited_) settled_.notify_all();
  }
  void note_oldest();
  void answer(Reply reply);
  void check_opening(const wire::InboundMethod& method);
  void check_expected(std::uint32_t method) const;
  void check_prefetch(const Content& content);
  [[nodiscard]] Outbox::Entry answer_entry() const noexcept {
    return allowed_ == no_consumer ? Outbox::Entry::control : Outbox::Entry::answer;
  }
  After on_method(const wire::InboundMethod& method);
  After on_close(const wire::InboundMethod& method);
  enum class Unless { never, closing };
  bool refuse_all(const ErrorDetails& error, Unless unless = Unless::never) noexcept;
  void complete(ContentAssembler::ContentPtr content);
  [[nodiscard]] std::shared_ptr<ChannelSink> sink() const;

  const OwnProcess process_;
  Outbox& outbox_;
  Ticker* const ticker_;
  const std::uint16_t number_;
  const std::uint32_t frame_max_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
  std::optional<ErrorDetails> error_;  // set: closed
  std::atomic<bool> closing_{false};   // our channel.close is on its way; set under the lock
  bool retired_ = false;               // nothing that it delivered is settled any more
  bool is_stream_ = false;             // knows no basic.nack
  std::atomic<bool> usable_{true};     // error_ is not set
  std::weak_ptr<ChannelSink> sink_;
  std::uint64_t open_end_ = std::numeric_limits<std::uint64_t>::max();  // of channel.open, in the outbox
  static constexpr std::size_t no_consumer = std::numeric_limits<std::size_t>::max();
  std::size_t allowed_ = no_consumer;  // unsettled deliveries
  std::size_t bytes_beyond_ = 0;       // delivered since they were fewer
  AckTracker acks_;
  std::vector<AckTracker::Ack> merged_;
  bool ticking_ = false;              // the I/O thread comes by within ack_delay: see tick()
  bool arrived_since_tick_ = false;   // deliveries
  bool settlements_awaited_ = false;  // from the first await_settled() on
  std::condition_variable settled_;
  std::uint64_t oldest_ = 0;  // an unsettled tag, as of the last batch of acknowledgements
  Deadline oldest_since_{};

  // The I/O thread's own.
  bool opened_ = false;            // channel.open-ok came
  bool consumes_ = false;          // a basic.consume-ok came
  bool confirms_ = false;          // confirm.select-ok came
  bool closed_by_broker_ = false;  // channel.close came, while our own was under way
  ContentAssembler assembler_;
  bool assembles_ = false;
  bool has_arrivals_ = false;
  std::vector<ContentAssembler::ContentPtr> spare_;
};

}  // namespace warren::inline v0::engine
