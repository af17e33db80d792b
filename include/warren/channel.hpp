#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <warren/delivery.hpp>
#include <warren/exchange.hpp>
#include <warren/export.hpp>
#include <warren/message.hpp>
#include <warren/queue.hpp>

namespace warren::inline v0 {

/// A channel: a lightweight session on a connection (https://www.rabbitmq.com/docs/channels).
///
/// Any thread may call anything, the destructor excepted; calls of many threads are under way at once. Each
/// call that asks the broker blocks until it answers, at most ConnectionOptions::operation_timeout, and
/// throws ConnectionError or TimeoutError (BlockedError while the broker blocks the connection). A call that
/// the broker refuses closes the channel: that call, all that wait and all that follow throw ChannelError
/// with the broker's code and text; the connection is untouched, and a new channel may be opened on it.
/// Calls on a moved-from Channel throw InvalidArgument; is_open() is then false, and number() 0.
class WARREN_EXPORT Channel {
 public:
  /// Closes it without waiting for the answer. Never throws.
  ~Channel();
  Channel(Channel&&) noexcept;             ///< takes over; the other is moved-from
  Channel& operator=(Channel&&) noexcept;  ///< ends what it had, as the destructor; then likewise
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Declares an exchange, creating it where it does not exist (AMQP `exchange.declare`).
  /// @param name  1 to 255 bytes; names in `amq.` are the broker's
  /// @param options  see ExchangeOptions; the default is a durable direct exchange
  /// @throws ChannelError  406 where it exists with other properties, 403 without permission or for `amq.`
  Exchange declare_exchange(std::string_view name, const ExchangeOptions& options = {});
  /// The exchange where it exists, whatever its properties (`passive`).
  /// @throws ChannelError  404 where it does not
  Exchange declare_exchange_passive(std::string_view name);
  /// Declares a queue, creating it where it does not exist (AMQP `queue.declare`).
  /// @param name  at most 255 bytes of UTF-8; empty lets the broker choose one
  /// @param options  see QueueOptions; the default is a durable queue of the virtual host's default type
  /// @returns the queue under the name that the broker gave it, with its counts
  /// @throws ChannelError  406 where it exists with other arguments, 405 where it is another connection's
  /// @throws ConnectionError  541: the broker refuses a queue that is neither durable nor exclusive, and
  /// closes the
  ///                          whole connection; nothing was declared
  Queue declare_queue(std::string_view name, const QueueOptions& options = {});
  /// The queue where it exists, whatever its arguments, with its counts (`passive`).
  /// @throws ChannelError  404 where it does not
  Queue declare_queue_passive(std::string_view name);

  /// Takes one message off a queue (AMQP `basic.get`), to be settled by the caller. Slow: consume where you
  /// can.
  /// @returns nothing where the queue is empty
  /// @throws ChannelError     404 for a missing queue
  /// @throws ConnectionError  540 for a stream: the broker closes the whole connection
  /// @throws Error            the message's properties can't be read (nested deeper than 32 levels); it is
  ///                          requeued
  [[nodiscard]] std::optional<Delivery> get(std::string_view queue);
  /// As get(), acknowledged by being sent: lost if it does not arrive, or can't be read.
  [[nodiscard]] std::optional<Delivery> get_no_ack(std::string_view queue);

  /// How many unacknowledged deliveries a consumer started on this channel later may hold (AMQP `basic.qos`,
  /// never global). Consumer has an option of its own for that.
  /// @param count  from 1; quorum queues cap it at 2000
  void set_prefetch(std::uint16_t count);

  /// Publishes without confirm: nothing says whether the broker took it. Publisher is the safe way.
  ///
  /// Not mandatory: what can't be routed is dropped by the broker. Returns once the message is queued for
  /// writing; blocks while ConnectionOptions::outbox_bytes are queued, at most `operation_timeout`.
  /// @throws InvalidArgument  exchange, routing key or a property above its limit; nothing is sent
  /// @throws BlockedError, TimeoutError  the outbox stayed full; the message was not sent
  void publish(std::string_view exchange, std::string_view routing_key, const Message& message);

  /// Closes the channel (AMQP `channel.close`); unsettled deliveries go back to their queues.
  ///
  /// Waits for the broker's answer, at most ConnectionOptions::operation_timeout; without an answer in time
  /// the broker closes the channel later. Does nothing if the channel is closed or was moved from. Never
  /// throws.
  void close() noexcept;
  /// Whether calls can still succeed. Never blocks, but for a lock.
  [[nodiscard]] bool is_open() const noexcept;
  /// Its number on the connection, from 1; numbers are used again.
  [[nodiscard]] std::uint16_t number() const noexcept;

 private:
  friend class Connection;
  explicit Channel(std::shared_ptr<engine::Session> session) noexcept;
  std::shared_ptr<engine::Session> session_;
};

}  // namespace warren::inline v0
