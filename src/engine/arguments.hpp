#pragma once

#include <warren/exchange_options.hpp>
#include <warren/queue_options.hpp>

namespace warren::inline v0::engine {

/// The arguments of exchange.declare.
[[nodiscard]] FieldTable exchange_arguments(const ExchangeOptions& options);
/// The arguments of queue.declare (https://www.rabbitmq.com/docs/queues#optional-arguments).
/// @throws InvalidArgument  a number is below the broker's minimum
[[nodiscard]] FieldTable queue_arguments(const QueueOptions& options);
/// Checks those arguments of basic.consume whose wrong values RabbitMQ ignores, or for which it closes the
/// connection (541).
/// @throws InvalidArgument  `x-stream-offset`, `x-stream-filter` or `x-stream-match-unfiltered` has an
/// invalid value
void check_consumer_arguments(const FieldTable& arguments);

}  // namespace warren::inline v0::engine
