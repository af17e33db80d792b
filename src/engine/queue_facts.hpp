#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>
#include <warren/queue_options.hpp>

#include "engine/connection_core.hpp"

/// @file
/// What AMQP 0-9-1 has no question for: what kind of queue one is. The broker tells when it refuses to
/// declare a queue again with other arguments (406), whose text names the first argument that differs, and
/// its value.
namespace warren::inline v0::engine {

/// Whether a queue is a stream. Knows it of a queue that this connection declared with a type; else asks,
/// with a declaration that the broker refuses whatever there is: it neither creates nor changes a queue, but
/// the broker logs the refusal. False if the queue does not exist, or the broker does not tell (403).
///
/// Blocks at most twice `operation_timeout`.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] bool is_stream(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue);

/// Whether a queue that exists has these options: declares it, without a record to declare it again.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] bool is_declared_as(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue,
                                  const QueueOptions& options);

/// What a queue says of deliveries that come back.
struct DeliveryLimit {
  bool is_quorum = false;               ///< only quorum queues count them
  std::optional<std::int64_t> limit{};  ///< `x-delivery-limit`; not set: it has none
};

/// Asks for it, as is_stream(). A limit that a policy
/// of the broker's sets is not told. Nothing if the queue does not exist, or the broker does not tell.
///
/// Blocks at most twice `operation_timeout` for each of up to ten questions; mostly there is one.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] std::optional<DeliveryLimit> delivery_limit(const std::shared_ptr<ConnectionCore>& connection,
                                                          const std::string& queue);

}  // namespace warren::inline v0::engine
