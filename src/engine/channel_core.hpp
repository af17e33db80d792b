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

/// The events of a channel, for its publisher or consumer. The I/O thread calls these functions, and holds no
/// lock of the channel.
/// Before the broker has opened the channel, only on_closed() is called. Deliveries and cancellations follow
/// the channel's basic.consume-ok; confirms and returns follow its confirm.select-ok.
class ChannelSink {
 public:
  virtual ~ChannelSink() = default;
  virtual void on_delivery(ContentAssembler::ContentPtr) {}
  /// Called after the deliveries of one turn. `spare` takes contents back, so that their memory is used
  /// again.
  virtual void on_turn_end(std::vector<ContentAssembler::ContentPtr>& /*spare*/) {}
  /// Called within ack_delay of a Ticker::request_tick(). True asks for another tick.
  virtual bool on_tick() { return false; }
  virtual void on_return(ContentAssembler::ContentPtr) {}
  /// Called for basic.ack and basic.nack. False means that the broker broke the protocol: no publish has this
  /// number.
  virtual bool on_confirm(std::uint64_t /*tag*/, bool /*multiple*/, bool /*acknowledged*/) { return true; }
  /// Called when the broker has answered a ChannelCore::post() with Answer::told.
  virtual void on_answered() {}
  /// The broker ended the subscription (basic.cancel).
  virtual void on_cancel(std::string_view /*consumer_tag*/) {}
  /// The broker accepts publishes again (connection.unblocked).
  virtual void on_unblocked() {}
  /// The channel is closed. Only on_forgotten() may be called after this. Nothing may be appended for the
  /// channel after this function has returned. It must not throw, since it also runs when a connection is
  /// lost because memory ran out.
  virtual void on_closed(const ErrorDetails&) {}
  /// Called after on_closed() if the broker closed the channel: the channel's number is free again.
  virtual void on_forgotten() {}
};

/// The longest time that an acknowledgement waits to be merged with others.
inline constexpr std::chrono::milliseconds ack_delay{5};

class ChannelCore;

/// Asks the I/O thread to call a channel's tick().
class Ticker {
 public:
  /// Asks for ChannelCore::tick() within ack_delay. Any thread may call it, with no lock of the channel held.
  /// @returns false if there is no memory for the request
  virtual bool request_tick(std::shared_ptr<ChannelCore> channel) noexcept = 0;

 protected:
  ~Ticker() = default;
};

/// The broker's answer to a synchronous method.
struct Reply {
  std::uint32_t method = 0;
  std::string name{};  ///< queue or consumer tag
  std::uint32_t message_count = 0;
  std::uint32_t consumer_count = 0;
  ContentAssembler::ContentPtr content{};  ///< of basic.get-ok
};

/// One channel: its state, the calls that wait for an answer, and the deliveries to settle. An object is one
/// generation. When the channel is lost, another object replaces it, so that deliveries of this one cannot be
/// settled there.
///
/// Any thread may call; the I/O thread brings the answers. Answers come in the order of the calls (AMQP 0-9-1
/// section 2.2.1), so calls of many threads may be in flight at once.
class ChannelCore : public std::enable_shared_from_this<ChannelCore> {
  struct Waiter;

 public:
  using Deadline = std::chrono::steady_clock::time_point;

  /// @param ticker  flushes the acknowledgements within ack_delay; if null, each caller that acknowledges
  /// flushes
  ChannelCore(Outbox& outbox, std::uint16_t number, std::uint32_t frame_max, Ticker* ticker = nullptr)
      : outbox_(outbox), ticker_(ticker), number_(number), frame_max_(frame_max) {}

  [[nodiscard]] const OwnProcess& process() const noexcept { return process_; }
  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  [[nodiscard]] std::uint32_t frame_max() const noexcept { return frame_max_; }
  /// Must be called before the first delivery or confirm can arrive.
  void set_sink(std::weak_ptr<ChannelSink> sink);

  /// How to treat a message that basic.get brings after its caller gave up.
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

  /// A call that was sent; finish() takes it.
  using Call = std::shared_ptr<Waiter>;
  /// The first half of call(): sends the method and does not wait, so that many calls can be in flight.
  /// @throws ChannelError, ConnectionError, InvalidArgument  for the reasons that call() has
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
  /// The second half of call(): waits for the answer. If the broker closed the channel, it refused the first
  /// call that has no answer, and ignored the calls after it.
  /// @throws ChannelError, ConnectionError, TimeoutError  for the reasons that call() has
  Reply finish(const Call& call, const std::string& operation, Deadline deadline);

  /// Whether the sink is told of the answer to a post().
  enum class Answer { ignored, told };
  /// Sends a method and does not wait for its answer.
  /// @returns false if the channel or the connection is gone
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
  /// @returns false if the outbox is full
  template <typename Encode>
  bool send(const std::string& operation, Outbox::Entry entry, Encode&& encode) {
    const std::lock_guard lock(mutex_);
    check_open(operation);
    return append(operation, entry, encode);
  }

  /// Sends channel.close, unless it was sent before, and refuses later calls. Does not wait. If there is no
  /// memory for the frame, it ends the connection (Outbox::break_off).
  void begin_close() noexcept;
  /// Calls begin_close() and detaches the sink, which is then not told how the channel ends.
  void give_up() noexcept;
  /// The broker cancelled the channel's subscription. Its deliveries cannot be settled any more, since the
  /// broker may have returned them to the queue. The sink is detached. Calls still work.
  void retire();
  /// Sends the pending acknowledgements, then one basic.nack that requeues all unsettled deliveries. From
  /// RabbitMQ 4.3 on, a quorum queue does not count a basic.nack towards its delivery limit, but it counts
  /// the deliveries that a closed channel returns. On a stream, only the acknowledgements are sent. Does
  /// nothing if the channel is closed.
  void give_back_unsettled() noexcept;
  /// Notes that the channel consumes a stream, which has no basic.nack and no basic.reject.
  void set_stream();
  /// Sets how many deliveries the broker may leave unsettled; called before basic.consume. The deliveries
  /// that are unsettled now belong to an earlier subscription and do not count. If the broker sends far more,
  /// it breaks the protocol.
  void expect_deliveries(std::uint16_t prefetch);
  /// The most bytes of acknowledgements and refusals that may wait to be written. They wait if the broker
  /// reads more slowly than it delivers.
  [[nodiscard]] std::size_t most_answers() const;
  /// The lowest unsettled delivery tag. If every delivery is settled, the tag of the next one.
  [[nodiscard]] std::uint64_t lowest_unsettled() const;
  /// How long the oldest unsettled delivery has been the oldest. That is at most its age.
  struct Oldest {
    std::size_t unsettled = 0;
    std::chrono::milliseconds held{0};
  };
  [[nodiscard]] Oldest oldest_unsettled() const;
  /// Sends channel.close and waits for the answer. Does nothing if the channel is gone.
  /// @throws TimeoutError
  void close(Deadline deadline);

  /// Whether calls can still succeed.
  [[nodiscard]] bool is_open() const;
  /// Why the channel is closed, in the broker's own words (the text of an Error is escaped). Nullopt while it
  /// is open.
  [[nodiscard]] std::optional<ErrorDetails> closed_by() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// Whether no error has ended the channel; a close by this client does not count. Takes no lock, so it may
  /// be called with the outbox's lock held.
  [[nodiscard]] bool is_usable() const noexcept { return usable_.load(std::memory_order_acquire); }
  /// Whether the channel's number will be free soon: a close by either side is in progress. Takes no lock.
  [[nodiscard]] bool is_closing() const noexcept {
    return closing_.load(std::memory_order_acquire) || !is_usable();
  }
  /// Whether the channel ended because its connection was lost, and not because the broker refused a call.
  [[nodiscard]] bool is_lost() const;

  // --- settling deliveries ---

  using Settlement = AckTracker::Settlement;
  /// Acknowledges now if `at_most` acknowledgements have gathered, or if no tick is due within ack_delay.
  /// Otherwise the tick() sends the acknowledgement. Nullopt if the channel is gone. The caller keeps the
  /// connection alive.
  std::optional<Settlement> acknowledge_later(std::uint64_t tag, std::size_t at_most);
  /// Sends the acknowledgements that acknowledge_later() gathered, merged. False if there are none, or the
  /// channel is gone.
  bool flush_acks();
  /// Acknowledges now. @throws ChannelError, ConnectionError, InvalidArgument (settled before)
  void acknowledge(std::uint64_t tag, bool multiple);
  /// Sends basic.nack, or basic.reject, now. Throws the errors of acknowledge().
  void refuse(std::uint64_t tag, bool requeue, bool reject);
  /// Marks a delivery as settled that was sent in no-ack mode: the broker does not expect an acknowledgement.
  void settled_by_broker(std::uint64_t tag);
  /// Whether the delivery is not settled yet.
  [[nodiscard]] bool is_unsettled(std::uint64_t tag) const;
  /// Blocks until every delivery up to this tag is settled, or until the deadline.
  /// @returns how many are unsettled; 0 once the channel is gone, since nothing can be settled there
  [[nodiscard]] std::size_t await_settled(std::uint64_t tag, Deadline deadline);

  // --- for the I/O thread ---

  /// The connection's next step after a frame.
  enum class After {
    nothing,
    send_close_ok,  ///< then forget the channel, then fail_waiters()
    answer_close,   ///< send close-ok; the answer to our own close is still to come
    closed,         ///< forget the channel, then fail_waiters()
  };
  /// @throws wire::MalformedFrame  the connection must be closed
  After on_frame(const wire::Frame& frame, wire::MethodDecoder& decoder);
  /// Whether deliveries arrived since the last end_turn(), which hands them over.
  [[nodiscard]] bool has_arrivals() const noexcept { return has_arrivals_; }
  /// Ends a turn. True asks for tick().
  bool end_turn();
  /// Sends the gathered acknowledgements. True asks for another tick.
  bool tick();
  void unblocked();
  /// Fails every waiting call. By then the number of the closed channel is free.
  void fail_waiters() noexcept;
  /// Tells the sink that the number is free, if the broker closed the channel.
  void forgotten();
  /// Fails every waiting call and every later one, because the connection is gone.
  void fail(const ErrorDetails& error) noexcept;

 private:
  struct Waiter {
    std::uint32_t expected = 0;
    LateDelivery late = LateDelivery::keep;
    bool given_up = false;
    bool told = false;  // report the answer to a post()
    bool done = false;
    std::optional<ErrorDetails> error{};
    Reply reply{};
    std::condition_variable answered{};
  };

  // The place to note where channel.open ends in the outbox; null if another answer is expected.
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
  // If a step finds no memory, the connection ends, since the broker waits for that step.
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
  std::optional<ErrorDetails> error_;  // if set, the channel is closed
  std::atomic<bool> closing_{false};   // our channel.close was sent, or is about to be; set under the lock
  bool retired_ = false;               // its deliveries cannot be settled any more
  bool is_stream_ = false;             // it has no basic.nack
  std::atomic<bool> usable_{true};     // error_ is not set
  std::weak_ptr<ChannelSink> sink_;
  std::uint64_t open_end_ = std::numeric_limits<std::uint64_t>::max();  // end of channel.open in the outbox
  static constexpr std::size_t no_consumer = std::numeric_limits<std::size_t>::max();
  std::size_t allowed_ = no_consumer;  // unsettled deliveries
  std::size_t bytes_beyond_ = 0;  // delivered since the number of unsettled deliveries was last below that
  AckTracker acks_;
  std::vector<AckTracker::Ack> merged_;
  bool ticking_ = false;              // a tick() follows within ack_delay
  bool arrived_since_tick_ = false;   // deliveries
  bool settlements_awaited_ = false;  // from the first await_settled() on
  std::condition_variable settled_;
  std::uint64_t oldest_ = 0;  // an unsettled tag, as of the last batch of acknowledgements
  Deadline oldest_since_{};

  // Only the I/O thread uses these.
  bool opened_ = false;            // channel.open-ok arrived
  bool consumes_ = false;          // a basic.consume-ok arrived
  bool confirms_ = false;          // confirm.select-ok arrived
  bool closed_by_broker_ = false;  // channel.close arrived while our own was in flight
  ContentAssembler assembler_;
  bool assembles_ = false;
  bool has_arrivals_ = false;
  std::vector<ContentAssembler::ContentPtr> spare_;
};

}  // namespace warren::inline v0::engine
