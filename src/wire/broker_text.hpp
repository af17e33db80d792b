#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>

/// @file
/// Facts that RabbitMQ tells only in its texts. No other file derives a meaning from a text of the broker.
///
/// The functions need the raw text of channel.close or connection.close. The text of an Error is escaped, so
/// a name in it may differ.
namespace warren::inline v0::wire {

/// Whether a channel was closed because the queue's node of the cluster is down; the queue still exists.
[[nodiscard]] bool is_node_down(std::uint16_t code, std::string_view text) noexcept;
/// Whether a channel was closed because a delivery was unacknowledged for longer than the consumer timeout
/// (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
[[nodiscard]] bool is_overdue_acknowledgement(std::uint16_t code, std::string_view text) noexcept;
/// Whether the connection was closed because the broker denies queues that are neither durable nor exclusive
/// (its deprecated feature `transient_nonexcl_queues`).
[[nodiscard]] bool is_denied_transient_queue(std::uint16_t code, std::string_view text) noexcept;
/// Whether the broker denies a deprecated feature.
[[nodiscard]] bool denies_feature(std::string_view text) noexcept;
/// Whether a limit of connections or channels is reached.
[[nodiscard]] bool tells_limit(std::string_view text) noexcept;

/// The queue that the broker did not find. Nullopt if the text says something else, or if the queue exists
/// and its node is down. The result refers to `text`.
[[nodiscard]] std::optional<std::string_view> missing_queue(std::string_view text) noexcept;
/// Whether the text of an error names an exchange, in single quotes. False for the default exchange.
[[nodiscard]] bool is_named(std::string_view exchange, std::string_view text) noexcept;

/// The contents of a 406 text.
struct Inequivalent {
  std::string argument{};               ///< for example `x-queue-type`; empty if the text says something else
  std::optional<FieldValue> current{};  ///< the queue's value; not set if it has none, or it is unreadable
};
/// Reads which argument of a declaration differs from the existing queue, and the queue's value.
[[nodiscard]] Inequivalent read_inequivalent(std::string_view text);

}  // namespace warren::inline v0::wire
