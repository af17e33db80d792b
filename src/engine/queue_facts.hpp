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
/// Questions about a queue that AMQP 0-9-1 has no method for, such as its type. The broker answers them when
/// it refuses to declare the queue again with other arguments (406). The text names the first argument that
/// differs, and its value.
namespace warren::inline v0::engine {

/// Whether a queue is a stream.
///
/// If this connection declared the queue with a type, the answer is known. Otherwise this function sends a
/// declaration that the broker refuses in any case. The declaration neither creates nor changes a queue, but
/// the broker logs the refusal. False if the queue does not exist, or the broker does not tell (403).
///
/// Blocks at most twice `operation_timeout`.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] bool is_stream(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue);

/// Whether an existing queue has these options. Declares the queue, without recording it for recovery.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] bool is_declared_as(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue,
                                  const QueueOptions& options);

/// A queue's delivery limit, as the broker reports it.
struct DeliveryLimit {
  bool is_quorum = false;               ///< only quorum queues count deliveries
  std::optional<std::int64_t> limit{};  ///< `x-delivery-limit`; not set: it has none
};

/// Asks the broker for the delivery limit of a queue, in the way of is_stream(). A limit from a policy of the
/// broker is not reported. Nullopt if the queue does not exist, or the broker does not tell.
///
/// Blocks at most twice `operation_timeout` for each of up to ten questions; usually there is one.
/// @throws ConnectionError, TimeoutError
[[nodiscard]] std::optional<DeliveryLimit> delivery_limit(const std::shared_ptr<ConnectionCore>& connection,
                                                          const std::string& queue);

}  // namespace warren::inline v0::engine
