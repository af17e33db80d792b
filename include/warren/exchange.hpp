#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

namespace engine {
class Session;
}

/// How an exchange routes (https://www.rabbitmq.com/docs/exchanges).
enum class ExchangeType : std::uint8_t { direct, fanout, topic, headers };

/// An exchange's properties. All are immutable: to declare an existing exchange with other ones is a 406.
struct ExchangeOptions {
  ExchangeType type = ExchangeType::direct;         ///< how it routes
  bool durable = true;                              ///< survives a restart of the broker
  bool auto_delete = false;                         ///< deleted once the last binding from it is gone
  bool internal = false;                            ///< takes messages from other exchanges only
  std::optional<std::string> alternate_exchange{};  ///< for what can't be routed
  /// The name of a type that a plugin brings (`x-consistent-hash`, …), in place of `type`.
  std::optional<std::string> custom_type{};
  FieldTable arguments{};  ///< further arguments; a typed option of the same name wins
};

/// When an exchange or queue may be removed.
struct RemoveOptions {
  bool if_unused = false;  ///< else 406 while an exchange has bindings, a queue has consumers
  bool if_empty = false;   ///< queues only: else 406 while it has messages
};

/// An exchange that was declared, on the channel that declared it. Copies stand for the same exchange.
/// Calls on a moved-from Exchange throw InvalidArgument, and its name is empty.
///
/// Any thread. Each call blocks until the broker answers, at most ConnectionOptions::operation_timeout, and
/// throws ChannelError (the broker refused, the channel is closed), ConnectionError or TimeoutError.
class WARREN_EXPORT Exchange {
 public:
  /// Its name.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Routes what `source` gets under `routing_key` to this exchange (`exchange.bind`, an extension of
  /// RabbitMQ).
  /// @throws ChannelError  404 where either is missing
  void bind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void bind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Takes a binding away; none of that kind is no error to RabbitMQ.
  void unbind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void unbind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Deletes the exchange with its bindings (`exchange.delete`).
  /// @throws ChannelError  406 where it is in use and `if_unused` was set
  void remove(RemoveOptions options = {});

 private:
  friend class Channel;
  Exchange(std::shared_ptr<engine::Session> session, std::string name);
  std::shared_ptr<engine::Session> session_;
  std::string name_;
};

}  // namespace warren::inline v0
