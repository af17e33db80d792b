#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/channel_core.hpp"
#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {

struct SubscriptionOptions {
  std::string queue{};
  std::string consumer_tag{};
  std::uint16_t prefetch = 64;
  bool exclusive = false;
  FieldTable arguments{};
};

/// One run of a consumer: its channel, what was delivered and not yet handled, and why it ends.
///
/// The I/O thread gathers deliveries and hands them over once a turn; workers take them, and settle. Once it
/// has ended it is never begun again.
class Subscription final : public ChannelSink, public std::enable_shared_from_this<Subscription> {
 public:
  using ContentPtr = ContentAssembler::ContentPtr;
  using Deadline = ConnectionCore::Deadline;
  enum class Event { ended, cancelled, lost, woken };

  Subscription(std::shared_ptr<ConnectionCore> connection, SubscriptionOptions options);

  [[nodiscard]] const std::string& queue() const noexcept { return options_.queue; }

  // --- whoever watches over it ---

  /// Opens the channel, sets the prefetch and subscribes.
  /// @throws ChannelError, ConnectionError, TimeoutError
  void open();
  /// Subscribes again after the broker's basic.cancel, unless it has ended. @throws as open()
  void subscribe_again();
  /// Once the connection is open again: another channel, with the same prefetch and subscription. Returns at
  /// once where it has ended. @throws as open()
  void open_again();
  /// Blocks until it has ended, the broker cancelled the subscription, or the channel was lost: with its
  /// connection, or for an acknowledgement that was overdue. Also until hold(), or until the deadline: woken.
  Event wait(Deadline deadline = Deadline::max());
  /// No worker takes any more, until resume(); whoever watches is to see to it. Any thread.
  void hold() noexcept;
  /// Since hold() or pause().
  [[nodiscard]] bool is_paused() const;
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
  /// Sends what is left to settle, and closes the channel; what is unsettled goes back to the queue.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] bool is_subscribed() const;
  [[nodiscard]] bool is_ending() const noexcept { return ending_.load(std::memory_order_acquire); }
  /// Received, and not taken.
  [[nodiscard]] std::size_t waiting() const;
  /// Taken from the channel that is open now, and not settled; 0 once that channel is gone.
  [[nodiscard]] std::size_t unsettled() const { return await_settled(Deadline()); }
  /// After end(): blocks until that is 0, or until the deadline, and returns it.
  [[nodiscard]] std::size_t await_settled(Deadline deadline) const;

  // --- workers ---

  /// Gives back the content handled before, for its memory, and takes the next one, blocking until there is
  /// one. False once it is ending.
  bool take(ContentPtr& content);
  /// Each settles one delivery, on the channel that brought it; false where that is gone (the message comes
  /// again), or where somebody settled it before. Acknowledgements are merged, and go out within ack_delay.
  bool acknowledge(const Delivery& delivery);
  bool refuse(const Delivery& delivery, Requeue requeue) noexcept;
  [[nodiscard]] bool is_unsettled(const Delivery& delivery) const;
  /// False where its channel is gone: the message comes again.
  [[nodiscard]] static bool can_settle(const Delivery& delivery);

 private:
  void subscribe();
  void give_back_waiting() noexcept;
  void on_delivery(ContentPtr content) override;
  bool on_turn_end(std::vector<ContentPtr>& spare) override;
  bool on_tick() override;
  void on_cancel() override;
  void on_closed(const ErrorDetails& error) override;

  [[nodiscard]] std::shared_ptr<ChannelCore> channel() const;
  void open_channel();

  const std::shared_ptr<ConnectionCore> connection_;
  const SubscriptionOptions options_;
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
  std::string consumer_tag_;
  bool subscribed_ = false;
  bool cancelled_ = false;      // and not subscribed again yet
  bool was_cancelled_ = false;  // ever
  bool lost_ = false;           // and not open again yet
  bool reopening_ = false;      // open_again() decides what an error of the new channel means
  bool counted_ = false;        // as a consumer of its queue
  bool woken_ = false;
  bool paused_ = false;  // no worker takes
  bool away_ = false;    // paused, and there is no subscription any more
  std::exception_ptr reason_;
  std::atomic<bool> ending_{false};
  std::atomic<bool> ticking_{false};  // the I/O thread comes by within ack_delay

  // The I/O thread's own.
  std::vector<ContentPtr> arrivals_;
  bool arrived_since_tick_ = false;
};

}  // namespace warren::inline v0::engine
