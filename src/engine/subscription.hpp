#pragma once

#include <atomic>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/channel_core.hpp"
#include "engine/connection_core.hpp"
#include "engine/stream_position.hpp"
#include "engine/subscription_state.hpp"

namespace warren::inline v0::engine {

struct SubscriptionOptions {
  std::string queue{};
  std::string consumer_tag{};
  std::uint16_t prefetch = 64;
  bool exclusive = false;
  FieldTable arguments{};
  /// After a lost connection: how long somebody else may take to declare the queue.
  std::chrono::milliseconds queue_wait{30'000};
  /// Of a stream's deliveries whose channel is gone.
  StreamPosition::Unsettled unsettled_on_stream = StreamPosition::Unsettled::comes_again;
};

/// One subscription of a consumer: its channel, what was delivered and not yet handled, and why it ends.
///
/// The I/O thread gathers deliveries and hands them over once a turn; workers take them, and settle; a
/// watcher opens another channel when one is lost. Once it has ended it is never begun again. What it is at a
/// moment is one value, SubscriptionState, which changes by next() alone.
class Subscription final : public ChannelSink, public std::enable_shared_from_this<Subscription> {
 public:
  using ContentPtr = ContentAssembler::ContentPtr;
  using Deadline = ConnectionCore::Deadline;
  enum class Event { ended, cancelled, lost, woken };

  Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options);

  /// The name that its queue has now: a server-named one gets another with each recovery.
  [[nodiscard]] std::string current_queue() const {
    return connection_->topology().current_name(options_.queue);
  }

  // --- whoever watches over it ---

  /// Opens the channel, sets the prefetch and subscribes.
  /// @throws ChannelError, ConnectionError, TimeoutError
  void open();
  /// After Event::lost and Event::cancelled, and once the connection is open again: another channel, with the
  /// same prefetch and subscription. A channel whose subscription the broker cancelled is left before, with
  /// what it had delivered given back. What passes with time is tried again, with backoff, and logged each
  /// time. Returns at once if it has ended. @throws as open(); ConsumerCancelledError if the broker cancelled
  /// the subscription, and the queue is gone
  void open_again();
  /// Blocks until it has ended, the broker cancelled the subscription, or the channel was lost: with its
  /// connection, or for an acknowledgement that was overdue. Also until hold(), or until the deadline: woken.
  Event wait(Deadline deadline = Deadline::max());
  /// No worker takes any more, until resume(); whoever watches is to see to it. Any thread.
  void hold() noexcept;
  /// Since hold() or pause().
  [[nodiscard]] bool is_paused() const noexcept { return state().is_paused(); }
  /// basic.cancel, and what no worker has taken goes back to the queue. Workers take no more, and no
  /// recovery subscribes, before resume(). @throws as open()
  void pause();
  /// Subscribes again after pause(), with another prefetch. @throws as open()
  void resume(std::uint16_t prefetch);
  /// Ends it: no worker takes any more. The first reason stays; none is a stop. Any thread.
  void end(std::exception_ptr reason) noexcept;
  [[nodiscard]] std::exception_ptr reason() const;
  /// After end(): basic.cancel, and what no worker has taken goes back to the queue. False where the broker
  /// did not answer in time.
  bool cancel(Deadline deadline) noexcept;
  /// Sends what is left to settle, gives back what is unsettled (on a stream: nothing), and closes the
  /// channel.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] bool is_subscribed() const noexcept { return state().link == SubscriptionLink::subscribed; }
  [[nodiscard]] bool is_ending() const noexcept { return state().link == SubscriptionLink::ending; }
  /// Received, and not taken.
  [[nodiscard]] std::size_t waiting() const;
  /// Taken from the channel that is open now, and not settled; 0 once that channel is gone.
  [[nodiscard]] std::size_t unsettled() const { return await_settled(Deadline()); }
  /// After end(): blocks until that is 0, or until the deadline, and returns it.
  [[nodiscard]] std::size_t await_settled(Deadline deadline) const;

  // --- workers ---

  /// Gives back the content handled before, for its memory, and takes the next one, blocking until there is
  /// one. False once it is ending.
  bool take(ContentPtr& content) noexcept;
  /// After a step that failed for a lack of memory: ends the connection, whose recovery does it again, and
  /// waits a moment, so that nothing spins.
  void lack_memory() noexcept;
  /// Each settles one delivery, on the channel that brought it; false where that is gone (the message comes
  /// again), or where somebody settled it before. Acknowledgements are merged, and go out within ack_delay.
  bool acknowledge(const Delivery& delivery);
  /// The handler's wish, or its failure. Back to the queue is basic.reject, which a quorum queue counts
  /// towards its delivery limit (from RabbitMQ 4.3 on basic.nack does not count). A stream has neither: a
  /// consumer that resumes gets it again, and Requeue::no acknowledges it.
  bool refuse(const Delivery& delivery, Requeue requeue) noexcept;
  /// Nobody's failure: basic.nack. A stream has none: a consumer that resumes gets it again.
  bool give_back(const Delivery& delivery) noexcept;
  /// Whether the queue is known to be a stream, which no message can go back to.
  [[nodiscard]] bool is_stream() const noexcept { return position_.is_stream(); }
  /// On a stream: waits a moment before the handler runs again with this delivery. False if it is not to: the
  /// subscription ends or is paused, or the delivery's channel is gone.
  bool wait_to_run_again(const Delivery& delivery);
  [[nodiscard]] bool is_unsettled(const Delivery& delivery) const;
  /// False where its channel is gone: the message comes again.
  [[nodiscard]] bool can_settle(const Delivery& delivery) const;

 private:
  [[nodiscard]] SubscriptionState state() const noexcept { return state_.load(std::memory_order_acquire); }
  SubscriptionAction apply(SubscriptionEvent event) noexcept;
  SubscriptionAction apply_locked(SubscriptionEvent event) noexcept;
  void subscribe();
  void give_back_waiting() noexcept;
  void on_delivery(ContentPtr content) override;
  void on_turn_end(std::vector<ContentPtr>& spare) override;
  void on_cancel(std::string_view consumer_tag) override;
  void on_closed(const ErrorDetails& error) noexcept override;

  [[nodiscard]] std::shared_ptr<ChannelCore> channel() const;
  void open_channel();
  void leave(ChannelCore& channel, const std::string& tag, Deadline deadline) noexcept;
  void left(const ChannelCore& channel) noexcept;
  void drop_arrivals() noexcept;
  [[nodiscard]] bool keeps_deliveries() const noexcept {
    return is_stream() && options_.unsettled_on_stream == StreamPosition::Unsettled::kept;
  }
  template <std::invocable Make>  // of the line behind the consumer's name
  void log(LogLevel level, Make&& make) noexcept {
    connection_->events().log(
        level, [&] { return "consumer of \"" + current_queue() + "\": " + std::string(make()); });
  }
  void log(LogLevel level, const std::string& text) noexcept {
    log(level, [&]() -> const std::string& { return text; });
  }

  // subscription_deliveries.cpp
  template <std::invocable Refuse>
  bool sends(Refuse&& refuse) noexcept;
  void give_arrivals_back() noexcept;
  void append_arrivals();

  // subscription_recovery.cpp
  struct Attempts;
  void leave_cancelled();
  bool open_once(Attempts& attempts);
  void await_kept();
  void leave_stream();
  bool try_again(Attempts& attempts, const ChannelError& error);
  bool declare_queue_again();
  void tell_cancelled(const ChannelCore& channel);
  [[nodiscard]] std::optional<std::int64_t> consumer_timeout() const;

  const std::shared_ptr<ConnectionCore> connection_;
  const SubscriptionOptions options_;
  StreamPosition position_;
  std::atomic<std::uint16_t> prefetch_;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable changed_;
  std::shared_ptr<ChannelCore> channel_;
  std::vector<ContentPtr> queue_;
  std::size_t taken_ = 0;       // from the front of queue_
  std::uint64_t last_tag_ = 0;  // of what was taken from channel_; all before it was taken, too
  std::vector<ContentPtr> spare_;
  std::size_t idle_workers_ = 0;
  std::optional<std::string> consumer_tag_;  // from the first basic.consume-ok on, until cancel()
  std::atomic<SubscriptionState> state_{};   // written with the lock held
  std::exception_ptr reason_;

  // The I/O thread's own.
  std::vector<ContentPtr> arrivals_;
};

}  // namespace warren::inline v0::engine
