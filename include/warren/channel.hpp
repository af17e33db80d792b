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
/// All functions except the destructor are thread-safe, and calls of several threads run at the same time. A
/// call that asks the broker blocks until the broker answers, at most ConnectionOptions::operation_timeout.
/// It throws ConnectionError or TimeoutError (BlockedError while the broker blocks the connection).
///
/// If the broker refuses a call, it closes the channel. That call, all waiting calls and all later calls
/// throw ChannelError with the broker's code and text. The connection stays open, and a new channel can be
/// opened on it.
///
/// On a moved-from Channel, is_open() returns false, number() returns 0, close() does nothing, and all other
/// calls throw LogicError.
class WARREN_EXPORT Channel {
 public:
  /// Closes the channel without waiting for the answer. Never throws.
  ~Channel();
  Channel(Channel&&) noexcept;  ///< takes over the other channel, which is then moved-from
  /// Closes its own channel as the destructor does, then takes over the other one, which is then moved-from.
  Channel& operator=(Channel&&) noexcept;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Declares an exchange. Creates it if it does not exist (AMQP `exchange.declare`).
  /// @param name     1 to 255 bytes; names that begin with `amq.` belong to the broker
  /// @param options  see ExchangeOptions; the default is a durable direct exchange
  /// @throws ChannelError  406 if the exchange exists with other properties; 403 without permission, or if it
  ///                       does not exist and its name begins with `amq.`
  Exchange declare_exchange(std::string_view name, const ExchangeOptions& options = {});
  /// Returns an existing exchange, whatever its properties (`exchange.declare` with `passive`).
  /// @throws ChannelError  404 if the exchange does not exist
  Exchange declare_exchange_passive(std::string_view name);
  /// Declares a queue. Creates it if it does not exist (AMQP `queue.declare`).
  /// @param name     at most 255 bytes of UTF-8; if it is empty, the broker chooses a name
  /// @param options  see QueueOptions; the default is a durable queue of the virtual host's default type
  /// @returns the queue with the name that the broker gave it, and with its counts
  /// @throws ChannelError     406 if the queue exists with other arguments, 405 if another connection uses it
  ///                          exclusively
  /// @throws ConnectionError  541 if the broker refuses a queue that is neither durable nor exclusive. It
  ///                          closes the whole connection, and nothing is declared
  Queue declare_queue(std::string_view name, const QueueOptions& options = {});
  /// Returns an existing queue with its counts, whatever its arguments (`queue.declare` with `passive`).
  /// @throws ChannelError  404 if the queue does not exist
  Queue declare_queue_passive(std::string_view name);

  /// Takes one message from a queue (AMQP `basic.get`). The caller must settle it. This is slow: use a
  /// Consumer if you can.
  /// @returns `nullopt` if the queue is empty
  /// @throws ChannelError     404 if the queue does not exist
  /// @throws ConnectionError  540 if the queue is a stream; the broker closes the whole connection
  /// @throws Error            the message's properties can't be read, because they are nested deeper than 32
  ///                          levels; the message is requeued
  [[nodiscard]] std::optional<Delivery> get(std::string_view queue);
  /// Takes one message from a queue (AMQP `basic.get` with `no-ack`). The broker counts it as acknowledged
  /// when it is sent. The message is lost if it does not arrive, or if its properties can't be read.
  /// @returns `nullopt` if the queue is empty
  /// @throws ChannelError     404 if the queue does not exist
  /// @throws ConnectionError  540 if the queue is a stream; the broker closes the whole connection
  /// @throws Error            the message's properties can't be read, because they are nested deeper than 32
  ///                          levels; the message is lost
  [[nodiscard]] std::optional<Delivery> get_no_ack(std::string_view queue);

  /// Sets the most unacknowledged deliveries of each consumer that starts on this channel later (AMQP
  /// `basic.qos`, not global). For a Consumer, which has its own channel, use ConsumerOptions::prefetch.
  /// @param count  from 1; quorum queues cap it at 2000
  /// @throws InvalidArgument  `count` is 0
  void set_prefetch(std::uint16_t count);

  /// Publishes without a confirm: the program can't know whether the broker took the message. Publisher is
  /// the safe way.
  ///
  /// The message is not mandatory: the broker drops it if it is unroutable. Returns when the message is
  /// queued for writing. If ConnectionOptions::outbox_bytes are already queued, the call blocks at most
  /// ConnectionOptions::operation_timeout.
  /// @throws InvalidArgument  exchange, routing key or a property is above its limit; nothing is sent
  /// @throws BlockedError, TimeoutError  there was no room to queue the message; it was not sent
  void publish(std::string_view exchange, std::string_view routing_key, const Message& message);

  /// Closes the channel (AMQP `channel.close`). Its unsettled deliveries are requeued.
  ///
  /// Waits for the broker's answer, at most ConnectionOptions::operation_timeout. Without an answer the
  /// broker closes the channel later. Does nothing if the channel is closed or was moved from. Never throws.
  void close() noexcept;
  /// Whether calls can still succeed. Blocks only on an internal lock.
  [[nodiscard]] bool is_open() const noexcept;
  /// The number of the channel on its connection, from 1. Numbers of closed channels are used again.
  [[nodiscard]] std::uint16_t number() const noexcept;

 private:
  friend class Connection;
  explicit Channel(std::shared_ptr<engine::Session> session) noexcept;
  std::shared_ptr<engine::Session> session_;
};

}  // namespace warren::inline v0
