#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <warren/exchange_options.hpp>
#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

namespace engine {
class Session;
}

/// A declared exchange. Copies refer to the same exchange. Calls on a moved-from Exchange throw LogicError,
/// and its name is empty.
///
/// An Exchange works until its connection is closed. Its calls use the channel that declared it. If that
/// channel is closed, the Exchange and its copies open another channel, which is closed when the last of them
/// is destroyed.
///
/// Any thread. A call blocks until the broker answers, at most ConnectionOptions::operation_timeout. It
/// throws ChannelError if the broker refuses (which closes the channel of the call), ConnectionError if the
/// connection is lost or closed, or TimeoutError.
class WARREN_EXPORT Exchange {
 public:
  /// The name of the exchange.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Binds this exchange to another one: messages that `source` gets with `routing_key` go to this exchange,
  /// too (`exchange.bind`, an extension of RabbitMQ).
  /// @throws ChannelError  404 if one of the exchanges does not exist
  void bind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Binds this exchange to another declared exchange (`exchange.bind`, an extension of RabbitMQ).
  /// @throws ChannelError  404 if one of the exchanges does not exist
  void bind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Removes a binding (`exchange.unbind`). If there is no such binding, RabbitMQ reports no error.
  void unbind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Removes a binding to another declared exchange (`exchange.unbind`). If there is no such binding,
  /// RabbitMQ reports no error.
  void unbind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Deletes the exchange with its bindings (AMQP `exchange.delete`).
  /// @throws ChannelError  406 if `if_unused` is set and queues or exchanges are bound to the exchange
  void remove(RemoveExchangeOptions options = {});

 private:
  friend class Channel;
  Exchange(std::shared_ptr<engine::Session> session, std::string name);
  std::shared_ptr<engine::Session> session_;
  std::string name_;
};

}  // namespace warren::inline v0
