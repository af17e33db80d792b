#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

/// The type of a queue (https://www.rabbitmq.com/docs/queues).
enum class QueueType : std::uint8_t {
  broker_default,  ///< sends no `x-queue-type`: the virtual host's default, which is classic unless changed
  classic,         ///< on one node (https://www.rabbitmq.com/docs/classic-queues)
  quorum,          ///< replicated (https://www.rabbitmq.com/docs/quorum-queues)
  stream,          ///< an append-only log; reading removes nothing (https://www.rabbitmq.com/docs/streams)
};

/// What the broker does when a queue is full (`x-overflow`).
enum class Overflow : std::uint8_t {
  drop_head,           ///< RabbitMQ's default: it drops the oldest message
  reject_publish,      ///< it refuses the new message: the publisher gets a NackedError
  reject_publish_dlx,  ///< it refuses and dead-letters the new message; classic queues only
};

/// How safely a quorum queue dead-letters messages (`x-dead-letter-strategy`).
enum class DeadLetterStrategy : std::uint8_t {
  at_most_once,  ///< RabbitMQ's default: without confirms, so a message may be lost
  /// With confirms. It needs Overflow::reject_publish, and on RabbitMQ 3.10 the feature flag `stream_queue`.
  at_least_once,
};

/// On which node the broker places a queue's leader (`x-queue-leader-locator`).
enum class LeaderLocator : std::uint8_t { client_local, balanced };

/// Which messages of a quorum queue wait before they are delivered again (`x-delayed-retry-type`, from
/// RabbitMQ 4.3 on; https://www.rabbitmq.com/docs/quorum-queues).
///
/// In AMQP 0-9-1, `basic.reject` with requeue means a failed delivery, and `basic.nack` with requeue means a
/// returned one.
enum class DelayedRetry : std::uint8_t {
  disabled,  ///< RabbitMQ's default: no message waits
  all,       ///< failed and returned messages wait
  failed,    ///< failed messages wait
  returned,  ///< returned messages wait
};

/// A queue's properties. Each optional member that is set is sent as the argument that its comment names.
///
/// The properties never change: declaring an existing queue with other properties is refused with 406.
struct QueueOptions {
  QueueType type = QueueType::broker_default;  ///< `x-queue-type`
  /// The queue survives a restart of the broker. If false, set `exclusive`: a broker that denies the
  /// deprecated feature `transient_nonexcl_queues` refuses queues that are neither. RabbitMQ permits them by
  /// default up to 4.3.
  bool durable = true;
  /// Only this connection may use the queue, and the broker deletes it with the connection.
  bool exclusive = false;
  bool auto_delete = false;  ///< the broker deletes it when its last consumer is gone
  std::optional<std::chrono::milliseconds> message_ttl{};  ///< `x-message-ttl`, from 0 ms
  /// `x-expires`, from 1 ms: the broker deletes the queue after this time without use.
  std::optional<std::chrono::milliseconds> expires{};
  std::optional<std::int64_t> max_length{};        ///< `x-max-length`, in messages
  std::optional<std::int64_t> max_length_bytes{};  ///< `x-max-length-bytes`: the bytes of all bodies
  std::optional<Overflow> overflow{};              ///< `x-overflow`
  /// `x-dead-letter-exchange`. "" is the default exchange.
  std::optional<std::string> dead_letter_exchange{};
  /// `x-dead-letter-routing-key`. If not set, dead letters keep the routing key of the message.
  std::optional<std::string> dead_letter_routing_key{};
  std::optional<DeadLetterStrategy> dead_letter_strategy{};  ///< `x-dead-letter-strategy`, quorum queues
  /// `x-delivery-limit`, quorum queues: from 0, or -1 for no limit. The default is 20 from RabbitMQ 4.0 on,
  /// and no limit before.
  std::optional<std::int64_t> delivery_limit{};
  bool single_active_consumer = false;  ///< `x-single-active-consumer`
  /// `x-max-priority`, classic queues only: 1 to 255; a small number costs the broker less. A quorum queue
  /// refuses it (406). Quorum queues have two priorities from RabbitMQ 4.0 on, and 32 from 4.3 on, without an
  /// argument.
  std::optional<std::uint8_t> max_priority{};
  std::optional<std::chrono::seconds> max_age{};         ///< `x-max-age`, streams
  std::optional<std::int64_t> max_segment_size_bytes{};  ///< `x-stream-max-segment-size-bytes`, streams
  /// `x-quorum-initial-group-size` of a quorum queue; `x-initial-cluster-size` of a stream.
  std::optional<std::int64_t> initial_group_size{};
  std::optional<LeaderLocator> leader_locator{};  ///< `x-queue-leader-locator`
  FieldTable arguments{};  ///< further arguments; a typed option for the same argument takes precedence
  /// `x-consumer-timeout`, from 1 ms: how long a delivery may stay unacknowledged. RabbitMQ 3.10 ignores it.
  /// Classic and quorum queues support it from 3.12 on. From 4.3 on, classic queues refuse it (406).
  std::optional<std::chrono::milliseconds> consumer_timeout{};
  /// `x-delayed-retry-type`, quorum queues from RabbitMQ 4.3 on. It needs `delayed_retry_min`.
  std::optional<DelayedRetry> delayed_retry{};
  /// `x-delayed-retry-min`, from 1 ms. A message waits this time, multiplied by its number of failed
  /// deliveries.
  std::optional<std::chrono::milliseconds> delayed_retry_min{};
  /// `x-delayed-retry-max`: the longest time that a message waits. Not set means `delayed_retry_min`.
  std::optional<std::chrono::milliseconds> delayed_retry_max{};
  /// `x-stream-filter-size-bytes`, streams from RabbitMQ 3.13 on: the size of each chunk's filter, 16 to 255
  /// bytes (https://www.rabbitmq.com/docs/streams#filtering).
  std::optional<std::uint8_t> filter_size_bytes{};
};

/// When Queue::remove may delete the queue.
struct RemoveOptions {
  bool if_unused = false;  ///< the broker refuses with 406 if the queue has consumers
  bool if_empty = false;   ///< the broker refuses with 406 if the queue has messages
};

/// The name of the enumerator, for example `classic`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(QueueType type) noexcept;

/// The name of the enumerator, for example `drop_head`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(Overflow overflow) noexcept;

/// The name of the enumerator, for example `at_most_once`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(DeadLetterStrategy strategy) noexcept;

/// The name of the enumerator, for example `client_local`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(LeaderLocator locator) noexcept;

/// The name of the enumerator, for example `disabled`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(DelayedRetry retry) noexcept;

}  // namespace warren::inline v0
