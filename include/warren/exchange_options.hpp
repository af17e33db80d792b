#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

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

/// When Exchange::remove may delete the exchange.
struct RemoveExchangeOptions {
  bool if_unused = false;  ///< the broker refuses with 406 if queues or exchanges are bound to the exchange
};

/// The enumerator's name, as `direct`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(ExchangeType type) noexcept;

}  // namespace warren::inline v0
