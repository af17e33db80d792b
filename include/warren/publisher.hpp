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

/// The callback of Confirmation::on_settled. It gets the outcome and, if the publish was not confirmed, its
/// error. The error is null for a confirmed publish, and is valid only during the call.
using SettledCallback = std::function<void(PublishOutcome, const ErrorDetails*)>;

/// The outcome of one Publisher::publish_async. Movable; it may outlive its publisher. It is not thread-safe:
/// one thread at a time. Calls on a Confirmation that was moved from, or made by default, throw LogicError,
/// except valid().
///
/// A failed publish is never silent. If the Confirmation is destroyed before the program sees the failure,
/// the next Publisher::flush throws the first such failure. The log also tells the number of such failures,
/// at level error: at the first one, and then at most once a second.
class WARREN_EXPORT Confirmation {
 public:
  Confirmation() noexcept = default;            ///< belongs to no publish: valid() is false
  ~Confirmation();                              ///< blocks only on an internal lock
  Confirmation(Confirmation&& other) noexcept;  ///< takes over the other object, which is then moved-from
  /// Drops its own publish as the destructor does, then takes over the other object, which is then
  /// moved-from.
  Confirmation& operator=(Confirmation&& other) noexcept;
  Confirmation(const Confirmation&) = delete;
  Confirmation& operator=(const Confirmation&) = delete;

  /// Whether this object belongs to a publish. False if it was moved from, or made by default.
  [[nodiscard]] bool valid() const noexcept { return slot_ != nullptr; }
  /// The outcome, or `pending` if the publish is not settled. After its deadline an unsettled publish is
  /// `unknown`. After the first result other than `pending`, the outcome does not change. Blocks only on an
  /// internal lock.
  [[nodiscard]] PublishOutcome outcome() const;
  /// Waits until the publish is confirmed. Blocks at most until the publish's own deadline.
  /// @throws NackedError, ReturnedError, ChannelError, ConnectionError  the publish failed with this error
  /// @throws TimeoutError, BlockedError  the publish was not settled before its deadline: in doubt if the
  ///     message was sent
  void wait();
  /// Waits until the publish is confirmed, at most `timeout`. With 0 the call returns at once. The call may
  /// wait longer than the publish's own deadline, because the confirm may still arrive then.
  /// @returns true if the publish is confirmed, false if it is not settled yet
  /// @throws NackedError, ReturnedError, ChannelError, ConnectionError  the publish failed with this error
  /// @throws TimeoutError, BlockedError  the publish is not settled, and its own deadline has passed: in
  ///     doubt if it was sent
  [[nodiscard]] bool wait_for(std::chrono::milliseconds timeout);
  /// Sets a callback that is called exactly once with the outcome: when the publish is settled, or soon if it
  /// is already settled. A publish that is not settled before its deadline ends as `unknown`.
  ///
  /// The connection's thread for events calls the callback (see LogCallback), never the I/O thread. If the
  /// connection was closed and that thread has ended, on_settled() calls the callback directly. An exception
  /// that the callback throws is dropped. The callback may publish again. Failures that a callback gets are
  /// not thrown by Publisher::flush. The Confirmation may be destroyed after this call.
  ///
  /// When the connection is closed, the callbacks share `close_timeout`. If slow callbacks use it up, the
  /// remaining ones are not called. Blocks only on an internal lock.
  /// @throws InvalidArgument  `callback` is empty
  /// @throws LogicError       this publish already has a callback
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

/// Publishes messages with publisher confirms, on a channel of its own
/// (https://www.rabbitmq.com/docs/confirms).
///
/// All functions except the destructor are thread-safe; many threads can share one publisher. Messages are
/// persistent unless their properties say otherwise. A mandatory message carries the header `warren-stamp`,
/// by which the publisher recognises it if it is returned; warren removes the header on receipt. After a
/// failure that closed its channel, the publisher opens another one automatically.
///
/// If the broker closes the channel or the connection because of one publish, only that publish fails. The
/// other publishes in flight are sent again (OnLoss::resend), in groups until the faulty one is found, and
/// may arrive twice. If the connection is lost for another reason, no publish fails because of it. Calls on a
/// moved-from Publisher throw LogicError, except close(), which does nothing.
class WARREN_EXPORT Publisher {
 public:
  /// Opens a channel in confirm mode. Blocks at most twice ConnectionOptions::operation_timeout.
  /// @throws InvalidArgument  an option is invalid
  /// @throws ConnectionError  the connection is closed
  /// @throws ChannelError     the negotiated maximum of open channels is reached
  /// @throws TimeoutError     the broker did not answer in time
  explicit Publisher(Connection& connection, PublisherOptions options = {});
  /// Closes the channel without waiting for the broker: publishes in flight end as `unknown`. Call flush()
  /// first to wait for their confirms. Never throws.
  ~Publisher();
  Publisher(Publisher&&) noexcept;  ///< takes over the other publisher, which is then moved-from
  /// Closes its own channel as the destructor does, then takes over the other publisher, which is then
  /// moved-from.
  Publisher& operator=(Publisher&&) noexcept;
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Publishes a message and returns when the broker has confirmed it (AMQP `basic.publish`, then
  /// `basic.ack`).
  ///
  /// Blocks at most the timeout, which includes waiting for room in the window. While the broker blocks the
  /// connection, the call waits without sending.
  /// @throws InvalidArgument  exchange, routing key or a property is above its limit, the body is above 512
  ///                          MiB, the timeout is not above 0, or a header is NaN or infinite; nothing was
  ///                          sent
  /// @throws ReturnedError    the message is unroutable; in doubt if it was sent again (OnLoss::resend)
  /// @throws NackedError      the broker refused the message
  /// @throws ChannelError     the broker closed the channel because of the message: 404 no such exchange, 403
  ///                          no permission, 406 too large. In doubt if a connection was lost because of it
  ///                          before. With OnLoss::fail also if the broker closed the channel because of
  ///                          another publish; then the error is in doubt and transient
  /// @throws BlockedError     the timeout passed while the broker blocked the connection; in doubt if the
  ///                          message was sent
  /// @throws TimeoutError     the timeout passed; in doubt if the message was sent, not if it waited for room
  /// @throws ConnectionError  the connection was lost (in doubt if the message was sent), or is closed
  void publish(const Message& message, const PublishOptions& options = {});

  /// Puts a message into the window and returns without waiting for the confirm. If the window has no room,
  /// it blocks until there is room, at most the timeout. It also blocks while the broker blocks the
  /// connection.
  ///
  /// While a lost connection recovers, the message waits in the window. It is sent after the recovery, or
  /// fails at its deadline with ConnectionError (not in doubt). If the message did not enter the window, this
  /// throws what publish() throws. Otherwise the Confirmation tells the outcome.
  [[nodiscard]] Confirmation publish_async(const Message& message, const PublishOptions& options = {});

  /// Waits until nothing is in flight (see in_flight()), at most PublisherOptions::timeout.
  /// @throws TimeoutError, BlockedError  publishes are still in flight
  /// @throws Error  the first failure of a publish_async() whose Confirmation was destroyed unseen
  void flush();
  /// Waits until nothing is in flight (see in_flight()), at most `timeout`.
  /// @throws TimeoutError, BlockedError  publishes are still in flight
  /// @throws Error  the first failure of a publish_async() whose Confirmation was destroyed unseen
  void flush(std::chrono::milliseconds timeout);

  /// The number of unsettled publishes before their deadlines: those that were sent, and those that wait to
  /// be sent. A publish after its deadline is not counted, but keeps its place in the window while the broker
  /// may still confirm it.
  [[nodiscard]] std::size_t in_flight() const;
  /// Closes the channel. Publishes in flight end as `unknown`. Blocks at most
  /// ConnectionOptions::operation_timeout. Never throws.
  void close() noexcept;

 private:
  friend class ParkingLot;
  Publisher(const std::shared_ptr<engine::ConnectionCore>& connection, PublisherOptions options);
  std::shared_ptr<engine::PublishWindow> window_;
};

}  // namespace warren::inline v0
