#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include <warren/error.hpp>
#include <warren/export.hpp>
#include <warren/message.hpp>
#include <warren/publisher_options.hpp>

namespace warren::inline v0 {

class Connection;
namespace engine {
class ConnectionCore;
class PublishWindow;
struct PublishSlot;
}  // namespace engine

/// What Confirmation::on_settled calls: with the outcome and, if the publish was not confirmed, its error.
/// The error is null after a confirm. It is valid during the call only.
using SettledCallback = std::function<void(PublishOutcome, const ErrorDetails*)>;

/// The outcome of one publish_async. Movable; may outlive its publisher. One thread at a time.
/// Calls on a Confirmation that was moved from, or made by default, throw LogicError.
///
/// The failure of a publish is never silent. If the Confirmation is destroyed before anybody saw the failure,
/// the next Publisher::flush throws that failure. The log also tells, at error level, how many such failures
/// there were: with the first one, then at most once a second.
class WARREN_EXPORT Confirmation {
 public:
  Confirmation() noexcept = default;            ///< of no publish: valid() is false
  ~Confirmation();                              ///< never blocks, but for a lock
  Confirmation(Confirmation&& other) noexcept;  ///< takes over; the other is moved-from
  /// Ends what it had, as the destructor; then takes over.
  Confirmation& operator=(Confirmation&& other) noexcept;
  Confirmation(const Confirmation&) = delete;
  Confirmation& operator=(const Confirmation&) = delete;

  /// Whether this object belongs to a publish. False after a move from it, and if it was made by default.
  [[nodiscard]] bool valid() const noexcept { return slot_ != nullptr; }
  /// How it ended, or that it has not. Past its deadline a publish is `unknown`, and stays so once this has
  /// said so. Never blocks, but for a lock.
  [[nodiscard]] PublishOutcome outcome() const;
  /// Returns once the publish is confirmed. Blocks at most until the publish's own deadline.
  /// @throws NackedError, ReturnedError, ChannelError (refused), ConnectionError  as it ended
  /// @throws TimeoutError, BlockedError  not settled before the publish's deadline: in doubt
  void wait();
  /// Waits at most `timeout`; 0 only looks. The confirm may still come after the publish's own deadline, so
  /// this waits for it, too.
  /// @returns true once the publish is confirmed, false if it is not settled yet
  /// @throws NackedError, ReturnedError, ChannelError (refused), ConnectionError  as it ended
  /// @throws TimeoutError, BlockedError  not settled, and the publish's own deadline has passed: in doubt
  [[nodiscard]] bool wait_for(std::chrono::milliseconds timeout);
  /// Has `callback` called exactly once with the outcome: when the publish is settled, or soon if it is
  /// settled already. A publish that is not settled before its deadline ends as `unknown`.
  ///
  /// The connection's thread for events calls it (see LogCallback), never the I/O thread. If that thread has
  /// ended because the connection was closed before, on_settled itself calls it. What the callback throws is
  /// dropped. The callback may publish again. It counts as having seen a failure, so flush() does not throw
  /// that failure. The Confirmation may be dropped afterwards.
  ///
  /// The callback is not called if slow callbacks before it use up `close_timeout` while the connection is
  /// closed. Never blocks, but for a lock.
  /// @throws InvalidArgument  `callback` is empty
  /// @throws LogicError       this publish has a callback already
  /// @throws ConnectionError  the system has no thread left for the callback
  void on_settled(SettledCallback callback);

 private:
  friend class Publisher;
  Confirmation(std::shared_ptr<engine::PublishWindow> window, engine::PublishSlot* slot) noexcept;
  void release() noexcept;
  [[nodiscard]] engine::PublishWindow& window() const;
  std::shared_ptr<engine::PublishWindow> window_;
  engine::PublishSlot* slot_ = nullptr;
};

/// Publishes with confirms, on a channel of its own (https://www.rabbitmq.com/docs/confirms).
///
/// Any thread may call anything, the destructor excepted; share one among many threads. Messages are
/// persistent unless their properties say otherwise. A mandatory message carries the header `warren-stamp`,
/// by which its return is recognised; warren strips it on receipt. After a failure that closed its channel
/// the publisher opens another one by itself.
///
/// A publish that the broker closes the channel or the connection for fails alone. The others that were in
/// flight are sent again (OnLoss::resend), in groups until the culprit is found, and may arrive twice. A
/// connection that is lost without such an answer blames no publish. Calls on a moved-from Publisher throw
/// InvalidArgument.
class WARREN_EXPORT Publisher {
 public:
  /// Opens a channel in confirm mode. Blocks at most twice ConnectionOptions::operation_timeout.
  /// @throws InvalidArgument  an option can't be right
  /// @throws ConnectionError, ChannelError, TimeoutError  as Connection::open_channel
  explicit Publisher(Connection& connection, PublisherOptions options = {});
  /// As close(), but without waiting for the broker: use flush() first. Never throws.
  ~Publisher();
  Publisher(Publisher&&) noexcept;             ///< takes over; the other is moved-from
  Publisher& operator=(Publisher&&) noexcept;  ///< ends what it had, as the destructor; then likewise
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Publishes and returns once the broker has taken responsibility (AMQP `basic.publish`, then `basic.ack`).
  ///
  /// Blocks at most the timeout, which covers waiting for room in the window. Where the broker is blocked, it
  /// waits without sending.
  /// @throws InvalidArgument  exchange, routing key or a property above its limit, a body above 512 MiB, a
  ///                          timeout that is not above 0, a header that is NaN or infinite; nothing was sent
  /// @throws ReturnedError    no queue is bound for it; in doubt where it was sent again (OnLoss::resend)
  /// @throws NackedError      the broker refused it
  /// @throws ChannelError     the broker closed the channel over it: 404 no such exchange, 403, 406 too
  ///                          large; in doubt if a link was lost over it before. With OnLoss::fail, also when
  ///                          it closed the channel over another publish: in doubt, not permanent
  /// @throws BlockedError     out of time while the broker blocks; in doubt only where it was sent before
  /// @throws TimeoutError     out of time; in doubt where it was sent, not where it waited for the window
  /// @throws ConnectionError  the connection was lost (in doubt where it was sent), or is closed
  void publish(const Message& message, const PublishOptions& options = {});

  /// Publishes and returns at once if the window has room, else blocks for room, at most the timeout. While a
  /// lost connection is recovered, the message waits in the window: it is sent afterwards, or fails at its
  /// deadline (ConnectionError, not in doubt). While the broker blocks the connection, the call blocks.
  /// Throws as publish() if the message was not taken into the window; else the Confirmation tells.
  [[nodiscard]] Confirmation publish_async(const Message& message, const PublishOptions& options = {});

  /// Waits until nothing is in flight (see in_flight()), at most PublisherOptions::timeout.
  /// @throws TimeoutError, BlockedError  some are still in flight
  /// @throws Error  the first failure of a publish_async whose Confirmation was dropped
  void flush();
  /// Waits until nothing is in flight (see in_flight()), at most `timeout`.
  /// @throws TimeoutError, BlockedError  some are still in flight
  /// @throws Error  the first failure of a publish_async whose Confirmation was dropped
  void flush(std::chrono::milliseconds timeout);

  /// Publishes whose outcome is open: sent and not confirmed, or to be sent, and not past their deadlines.
  /// One that is past its deadline keeps its place in the window for as long as the broker may still confirm
  /// it.
  [[nodiscard]] std::size_t in_flight() const;
  /// Closes the channel; what is in flight ends as unknown. Blocks at most `operation_timeout`. Never throws.
  void close() noexcept;

 private:
  friend class ParkingLot;
  Publisher(const std::shared_ptr<engine::ConnectionCore>& connection, PublisherOptions options);
  std::shared_ptr<engine::PublishWindow> window_;
};

}  // namespace warren::inline v0
