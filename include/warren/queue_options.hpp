#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

/// Kinds of queue (https://www.rabbitmq.com/docs/queues).
enum class QueueType : std::uint8_t {
  classic,  ///< sends no `x-queue-type`: classic, unless the virtual host has another default
  quorum,   ///< replicated (https://www.rabbitmq.com/docs/quorum-queues)
  stream,   ///< a log that is not consumed by reading (https://www.rabbitmq.com/docs/streams)
};

/// What a full queue does (`x-overflow`).
enum class Overflow : std::uint8_t {
  drop_head,           ///< RabbitMQ's default: the oldest message goes
  reject_publish,      ///< the new one is refused: the publisher gets a NackedError
  reject_publish_dlx,  ///< likewise, and dead-lettered; classic queues only
};

/// How a quorum queue hands dead letters over (`x-dead-letter-strategy`).
enum class DeadLetterStrategy : std::uint8_t {
  at_most_once,   ///< RabbitMQ's default: not confirmed, may be lost
  at_least_once,  ///< needs Overflow::reject_publish; RabbitMQ 3.10 needs the feature flag `stream_queue`
};

/// Where a queue's leader starts (`x-queue-leader-locator`).
enum class LeaderLocator : std::uint8_t { client_local, balanced };

/// Which messages of a quorum queue wait before they are delivered again (`x-delayed-retry-type`, from
/// RabbitMQ 4.3 on; https://www.rabbitmq.com/docs/quorum-queues). Over AMQP 0-9-1 `basic.reject` with requeue
/// is a failed delivery, and `basic.nack` with requeue is a returned one.
enum class DelayedRetry : std::uint8_t {
  disabled,  ///< RabbitMQ's default: none waits
  all,       ///< failed and returned messages wait
  failed,    ///< failed messages wait
  returned,  ///< returned messages wait
};

/// A queue's properties; each optional one becomes the argument that its comment names. All are immutable: to
/// declare an existing queue with other ones is a 406.
struct QueueOptions {
  QueueType type = QueueType::classic;  ///< `x-queue-type`
  /// Survives a restart. A broker that denies its deprecated feature `transient_nonexcl_queues` refuses false
  /// unless `exclusive` is set; RabbitMQ permits it by default up to 4.3.
  bool durable = true;
  bool exclusive = false;                                  ///< this connection's alone, deleted with it
  bool auto_delete = false;                                ///< deleted once its last consumer is gone
  std::optional<std::chrono::milliseconds> message_ttl{};  ///< `x-message-ttl`, from 0
  std::optional<std::chrono::milliseconds> expires{};      ///< `x-expires`: unused for so long; from 1
  std::optional<std::int64_t> max_length{};                ///< `x-max-length`, messages
  std::optional<std::int64_t> max_length_bytes{};          ///< `x-max-length-bytes`, bodies
  std::optional<Overflow> overflow{};                      ///< `x-overflow`
  std::optional<std::string> dead_letter_exchange{};  ///< `x-dead-letter-exchange`; "" is the default one
  std::optional<std::string>
      dead_letter_routing_key{};  ///< `x-dead-letter-routing-key`; else the message's own
  std::optional<DeadLetterStrategy> dead_letter_strategy{};  ///< `x-dead-letter-strategy`, quorum
  std::optional<std::int64_t>
      delivery_limit{};  ///< `x-delivery-limit`, quorum, from 0, or -1: unlimited; 20 by default from 4.0
  bool single_active_consumer = false;  ///< `x-single-active-consumer`
  /// `x-max-priority`, classic queues only; 1 to 255, few are better. A quorum queue refuses it (406): it has
  /// 32 priorities from RabbitMQ 4.3 on (two from 4.0 on) without any argument.
  std::optional<std::uint8_t> max_priority{};
  std::optional<std::chrono::seconds> max_age{};         ///< `x-max-age`, stream
  std::optional<std::int64_t> max_segment_size_bytes{};  ///< `x-stream-max-segment-size-bytes`, stream
  std::optional<std::int64_t>
      initial_group_size{};  ///< `x-quorum-initial-group-size`, of a stream `x-initial-cluster-size`
  std::optional<LeaderLocator> leader_locator{};  ///< `x-queue-leader-locator`
  FieldTable arguments{};                         ///< further arguments; a typed option of the same name wins
  /// `x-consumer-timeout`, from 1 ms: how long a delivery may stay unacknowledged. Quorum queues from
  /// RabbitMQ 4.3 on, whose classic queues refuse it (406); both types from 3.12 on; 3.10 ignores it.
  std::optional<std::chrono::milliseconds> consumer_timeout{};
  std::optional<DelayedRetry>
      delayed_retry{};  ///< `x-delayed-retry-type`, quorum, from 4.3; needs `delayed_retry_min`
  /// `x-delayed-retry-min`, from 1 ms: a message waits this long times its count of failed deliveries.
  std::optional<std::chrono::milliseconds> delayed_retry_min{};
  /// `x-delayed-retry-max`: the most that a message waits. Not set: `delayed_retry_min`.
  std::optional<std::chrono::milliseconds> delayed_retry_max{};
  /// `x-stream-filter-size-bytes`, stream, 16 to 255: the size of the filter of each chunk, from
  /// RabbitMQ 3.13 on (https://www.rabbitmq.com/docs/streams#filtering).
  std::optional<std::uint8_t> filter_size_bytes{};
};

/// When Queue::remove may delete the queue.
struct RemoveOptions {
  bool if_unused = false;  ///< the broker refuses with 406 if the queue has consumers
  bool if_empty = false;   ///< the broker refuses with 406 if the queue has messages
};

/// The enumerator's name, as `classic`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(QueueType type) noexcept;

/// The enumerator's name, as `drop_head`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(Overflow overflow) noexcept;

/// The enumerator's name, as `at_most_once`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(DeadLetterStrategy strategy) noexcept;

/// The enumerator's name, as `client_local`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(LeaderLocator locator) noexcept;

/// The enumerator's name, as `disabled`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(DelayedRetry retry) noexcept;

}  // namespace warren::inline v0
