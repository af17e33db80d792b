#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <warren/exchange.hpp>
#include <warren/export.hpp>
#include <warren/field_table.hpp>
#include <warren/queue_options.hpp>

namespace warren::inline v0 {

/// A declared queue. Copies refer to the same queue. Calls on a moved-from Queue throw LogicError.
///
/// A Queue works until its connection is closed. Its calls use the channel that declared it. If that channel
/// is closed, the Queue and its copies open another channel, which is closed when the last of them is
/// destroyed. This also works for exclusive queues and for queues whose name the broker chose.
///
/// Any thread. A call that asks the broker blocks until the broker answers, at most
/// ConnectionOptions::operation_timeout. It throws ChannelError if the broker refuses (which closes the
/// channel of the call), ConnectionError if the connection is lost or closed, or TimeoutError.
class WARREN_EXPORT Queue {
 public:
  /// The name of the queue. If the broker chose it, each recovery of the connection gives the queue another
  /// name. For that reason this returns a copy, not a reference. Blocks only on an internal lock.
  [[nodiscard]] std::string name() const;
  /// The number of messages that were ready when the queue was declared.
  [[nodiscard]] std::uint32_t message_count() const noexcept { return message_count_; }
  /// The number of consumers when the queue was declared.
  [[nodiscard]] std::uint32_t consumer_count() const noexcept { return consumer_count_; }

  /// Binds the queue to an exchange: messages that the exchange gets with `routing_key` go to this queue
  /// (AMQP `queue.bind`).
  /// @throws ChannelError  404 if the queue or the exchange does not exist
  void bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Binds the queue to a declared exchange (AMQP `queue.bind`).
  /// @throws ChannelError  404 if the queue or the exchange does not exist
  void bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Removes a binding (AMQP `queue.unbind`). If there is no such binding, RabbitMQ reports no error.
  void unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Removes a binding to a declared exchange (AMQP `queue.unbind`). If there is no such binding, RabbitMQ
  /// reports no error.
  void unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Deletes all ready messages of a classic or quorum queue (AMQP `queue.purge`). Returns their number.
  std::uint32_t purge();
  /// Deletes the queue (AMQP `queue.delete`). Returns the number of messages that were deleted with it. If
  /// the queue does not exist, RabbitMQ reports no error.
  /// @throws ChannelError  406 if `if_unused` is set and the queue has consumers, or if `if_empty` is set and
  ///                       it has messages
  std::uint32_t remove(RemoveOptions options = {});

 private:
  friend class Channel;
  Queue(std::shared_ptr<engine::Session> session, std::string name, std::uint32_t messages,
        std::uint32_t consumers);
  std::shared_ptr<engine::Session> session_;
  std::string name_;
  std::uint32_t message_count_ = 0;
  std::uint32_t consumer_count_ = 0;
};

}  // namespace warren::inline v0
