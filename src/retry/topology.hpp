#pragma once

#include <string_view>

#include <warren/connection.hpp>
#include <warren/retry_policy.hpp>

namespace warren::inline v0::retry {

/// The suffix of a parked queue's name: the name is that of the queue plus this suffix, unless the policy
/// names another parked queue.
inline constexpr std::string_view parked_suffix = "_parked";

/// Declares the exchange, the queues and the bindings that a policy needs.
///
/// An existing queue or exchange stays unchanged, whatever its arguments. Therefore an operator's parked
/// queue may be a quorum queue, and a changed policy never causes a 406. A warning is logged for a parked or
/// suspect queue that is a quorum queue, if inspecting its messages may reach its delivery limit.
///
/// Blocks at most `operation_timeout` for each step.
/// @throws ChannelError     the broker refused a step
/// @throws ConnectionError  the connection is lost or closed
/// @throws TimeoutError     the broker did not answer a step in time
void declare(Connection& connection, const RetryTopology& topology);

}  // namespace warren::inline v0::retry
