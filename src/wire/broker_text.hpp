#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>

/// @file
/// What RabbitMQ says only in words. No other file reads meaning out of a text of the broker's.
///
/// The texts are those of channel.close and connection.close as they came: an Error's text is escaped, so
/// that a name in it may differ.
namespace warren::inline v0::wire {

/// Whether a channel was closed for a queue that exists on a node of the cluster that is down.
[[nodiscard]] bool is_node_down(std::uint16_t code, std::string_view text) noexcept;
/// Whether a channel was closed because a delivery was unacknowledged for longer than the consumer timeout
/// (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
[[nodiscard]] bool is_overdue_acknowledgement(std::uint16_t code, std::string_view text) noexcept;
/// Whether the connection was closed for a queue that is neither durable nor exclusive, since the broker
/// denies its deprecated feature `transient_nonexcl_queues`.
[[nodiscard]] bool is_denied_transient_queue(std::uint16_t code, std::string_view text) noexcept;
/// Whether the broker denies a feature that is deprecated.
[[nodiscard]] bool denies_feature(std::string_view text) noexcept;
/// Whether a limit of connections or channels is reached.
[[nodiscard]] bool tells_limit(std::string_view text) noexcept;

/// The queue that the broker did not find; nothing if the text says something else, or if the queue is there
/// and its node is down. Refers to `text`.
[[nodiscard]] std::optional<std::string_view> missing_queue(std::string_view text) noexcept;
/// Whether the text of an error names an exchange, in single quotes. False for the default exchange.
[[nodiscard]] bool is_named(std::string_view exchange, std::string_view text) noexcept;

/// The words of a 406.
struct Inequivalent {
  std::string argument{};               ///< `x-queue-type`; empty: it says something else
  std::optional<FieldValue> current{};  ///< what the queue has; not set: nothing, or unreadable
};
/// Reads which argument of a declaration differs from the queue that exists, and that queue's value.
[[nodiscard]] Inequivalent read_inequivalent(std::string_view text);

}  // namespace warren::inline v0::wire
