#pragma once

#include <string_view>

#include <warren/connection.hpp>
#include <warren/retry_policy.hpp>

namespace warren::inline v0::retry {

/// What the name of a parked queue has behind that of its queue, unless the policy names another.
inline constexpr std::string_view parked_suffix = "_parked";

/// Declares what a policy needs: exchange, queues, bindings.
///
/// What exists is left as it is, whatever its arguments: an operator's parked queue may be a quorum queue,
/// and a changed policy never meets a 406. A quorum queue for messages that rest, with a delivery limit that
/// looking at them may reach, is warned about in the log. Blocks at most `operation_timeout` for each step.
/// @throws ChannelError, ConnectionError, TimeoutError  as Channel's declarations
void declare(Connection& connection, const RetryTopology& topology);

}  // namespace warren::inline v0::retry
