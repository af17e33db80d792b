#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

/// The type of an exchange, which decides how it routes (https://www.rabbitmq.com/docs/exchanges).
enum class ExchangeType : std::uint8_t { direct, fanout, topic, headers };

/// An exchange's properties. They never change: declaring an existing exchange with other properties is
/// refused with 406.
struct ExchangeOptions {
  ExchangeType type = ExchangeType::direct;  ///< how it routes messages
  bool durable = true;                       ///< it survives a restart of the broker
  bool auto_delete = false;  ///< the broker deletes it when the last binding from it is removed
  bool internal = false;     ///< it accepts messages from other exchanges only, not from publishers
  std::optional<std::string> alternate_exchange{};  ///< gets the messages that this exchange can't route
  /// The type that a plugin provides, for example `x-consistent-hash`. It replaces `type`.
  std::optional<std::string> custom_type{};
  FieldTable arguments{};  ///< further arguments; a typed option for the same argument takes precedence
};

/// When Exchange::remove may delete the exchange.
struct RemoveExchangeOptions {
  bool if_unused = false;  ///< the broker refuses with 406 if queues or exchanges are bound to the exchange
};

/// The name of the enumerator, for example `direct`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(ExchangeType type) noexcept;

}  // namespace warren::inline v0
