#pragma once

#include <string>

#include <warren/connection.hpp>
#include <warren/retry_policy.hpp>

namespace warren::inline v0::retry {

/// Declares what the policy of a consumer of `queue` needs: the queue to try again from, the parked queue,
/// and the exchange for copies with its bindings where one is named. Nothing for none().
///
/// What exists is left as it is, whatever its arguments: an operator's parked queue may be a quorum queue.
/// What does not is declared durable and without arguments. Blocks at most `operation_timeout` for each step.
/// @throws InvalidArgument  the parked queue is the consumer's own, or its name is above 255 bytes
/// @throws ChannelError, ConnectionError, TimeoutError  as Channel's declarations
void declare(Connection& connection, const RetryPolicy& policy, const std::string& queue);

}  // namespace warren::inline v0::retry
