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
  /// How long to wait, after a lost connection, for another client to declare the queue.
  std::chrono::milliseconds queue_wait{30'000};
  /// How to treat a stream's unsettled deliveries when their channel is gone.
  StreamPosition::Unsettled unsettled_on_stream = StreamPosition::Unsettled::comes_again;
};

/// One subscription of a consumer: its channel, its deliveries that wait for a worker, and the reason for its
/// end.
///
/// The I/O thread collects deliveries and hands them over once a turn. Workers take and settle them. The
/// watcher opens another channel when one is lost. A subscription that has ended never starts again. Its
/// state is one value, SubscriptionState, which only next() changes.
class Subscription final : public ChannelSink, public std::enable_shared_from_this<Subscription> {
 public:
  using ContentPtr = ContentAssembler::ContentPtr;
  using Deadline = ConnectionCore::Deadline;
  enum class Event { ended, cancelled, lost, woken };

  Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options);

  /// The queue's current name. A server-named queue gets a new name with each recovery.
  [[nodiscard]] std::string current_queue() const {
    return connection_->topology().current_name(options_.queue);
  }

  // --- for the watcher ---

  /// Opens the channel, sets the prefetch and subscribes.
  /// @throws ChannelError, ConnectionError, TimeoutError
  void open();
  /// Opens another channel and subscribes again, with the current prefetch. Called after Event::lost and
  /// Event::cancelled, once the connection is open again. If the broker cancelled the subscription, its
  /// channel is closed first, and its unsettled deliveries are given back. Transient errors are tried again
  /// with backoff, and each is logged. Returns at once if the subscription has ended.
  /// @throws ChannelError, ConnectionError, TimeoutError
  /// @throws ConsumerCancelledError  the broker cancelled the subscription, and the queue is gone
  void open_again();
  /// Blocks until the subscription has ended, the broker cancelled it, or its channel was lost (with the
  /// connection, or because an acknowledgement was overdue). Returns Event::woken after hold(), or at the
  /// deadline.
  Event wait(Deadline deadline = Deadline::max());
  /// Workers take no more deliveries until resume(), and the watcher is woken. Any thread.
  void hold() noexcept;
  /// Whether hold() or pause() was called and resume() was not called since.
  [[nodiscard]] bool is_paused() const noexcept { return state().is_paused(); }
  /// Sends basic.cancel, and requeues the deliveries that no worker has taken. Until resume(), workers take
  /// nothing, and no recovery subscribes. @throws ChannelError, ConnectionError, TimeoutError
  void pause();
  /// Subscribes again after pause(), with another prefetch. @throws ChannelError, ConnectionError,
  /// TimeoutError
  void resume(std::uint16_t prefetch);
  /// Ends the subscription: workers take no more deliveries. The first reason is kept; null means a normal
  /// stop. Any thread.
  void end(std::exception_ptr reason) noexcept;
  [[nodiscard]] std::exception_ptr reason() const;
  /// Called after end(): sends basic.cancel, and requeues the deliveries that no worker has taken.
  /// False if the broker did not answer in time.
  bool cancel(Deadline deadline) noexcept;
  /// Sends the pending acknowledgements, gives back the unsettled deliveries (except on a stream), and closes
  /// the channel.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] bool is_subscribed() const noexcept { return state().link == SubscriptionLink::subscribed; }
  [[nodiscard]] bool is_ending() const noexcept { return state().link == SubscriptionLink::ending; }
  /// How many received deliveries no worker has taken yet.
  [[nodiscard]] std::size_t waiting() const;
  /// How many deliveries that workers took from the open channel are unsettled; 0 once that channel is gone.
  [[nodiscard]] std::size_t unsettled() const { return await_settled(Deadline()); }
  /// Called after end(): blocks until unsettled() is 0, or until the deadline. Returns unsettled().
  [[nodiscard]] std::size_t await_settled(Deadline deadline) const;

  // --- for the workers ---

  /// Takes the next delivery, and blocks until there is one. It also takes back the content that was handled
  /// before, for its memory. False once the subscription is ending.
  bool take(ContentPtr& content) noexcept;
  /// Called after a step failed because memory ran out. Ends the connection, so that its recovery repeats the
  /// step. Waits a moment, so that the worker does not spin.
  void lack_memory() noexcept;
  /// Acknowledges one delivery on the channel that brought it. False if that channel is gone (the message is
  /// redelivered), or if the delivery is already settled. Acknowledgements are merged, and sent within
  /// ack_delay.
  bool acknowledge(const Delivery& delivery);
  /// Refuses a delivery, because the handler asked for it or failed. Requeue::yes sends basic.reject, which a
  /// quorum queue counts towards its delivery limit (from RabbitMQ 4.3 on it does not count basic.nack). A
  /// stream has neither method. There a consumer that resumes gets the message again, and Requeue::no
  /// acknowledges it.
  bool refuse(const Delivery& delivery, Requeue requeue) noexcept;
  /// Gives a delivery back with basic.nack, which from RabbitMQ 4.3 on counts as no failure. A stream has no
  /// basic.nack: a consumer that resumes gets the message again.
  bool give_back(const Delivery& delivery) noexcept;
  /// Whether the queue is known to be a stream, to which no message can be requeued.
  [[nodiscard]] bool is_stream() const noexcept { return position_.is_stream(); }
  /// For a stream: waits a moment before the handler runs again with this delivery. False if it must not run
  /// again: the subscription is ending or paused, or the delivery's channel is gone.
  bool wait_to_run_again(const Delivery& delivery);
  [[nodiscard]] bool is_unsettled(const Delivery& delivery) const;
  /// False if the delivery's channel is gone; the message is then redelivered.
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
  template <std::invocable Make>  // makes the line that follows the consumer's name
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
  std::uint64_t last_tag_ = 0;  // the last tag taken from channel_; all lower tags were taken too
  std::vector<ContentPtr> spare_;
  std::size_t idle_workers_ = 0;
  std::optional<std::string> consumer_tag_;  // from the first basic.consume-ok on, until cancel()
  std::atomic<SubscriptionState> state_{};   // written with the lock held
  std::exception_ptr reason_;

  // Only the I/O thread uses these.
  std::vector<ContentPtr> arrivals_;
};

}  // namespace warren::inline v0::engine
