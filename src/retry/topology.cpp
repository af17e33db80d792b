#include "retry/topology.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <warren/channel.hpp>
#include <warren/error.hpp>
#include <warren/reply_code.hpp>

#include "client/connection_access.hpp"
#include "engine/connection_core.hpp"
#include "engine/queue_facts.hpp"

namespace warren::inline v0::retry {
namespace {

// Asks the broker on a channel of its own, because a refusal closes the channel. Returns false if the broker
// answers with `refusal`.
bool ask(Connection& connection, std::uint16_t refusal, const std::function<void(Channel&)>& question) {
  try {
    Channel channel = connection.open_channel();
    question(channel);
    return true;
  } catch (const ChannelError& error) {
    if (error.code() != refusal) throw;
    return false;
  }
}

// Warns if inspecting messages may delete them: an inspected message is requeued, and a quorum queue may
// count that towards its delivery limit.
void warn_of_deletions(Connection& connection, const RetryQueue& queue) {
  constexpr std::int64_t never_reached = 1'000;
  const auto& core = engine::ConnectionAccess::core(connection);
  if (engine::is_declared_as(core, queue.name, queue.options)) return;
  const std::optional<engine::DeliveryLimit> found = engine::delivery_limit(core, queue.name);
  if (!found || !found->is_quorum) return;
  if (found->limit && (*found->limit < 0 || *found->limit >= never_reached)) return;
  const std::string limit =
      found->limit ? fmt::format("whose x-delivery-limit is {}", *found->limit)
                   : std::string("without an x-delivery-limit, which is 20 from RabbitMQ 4.0 on");
  core->events().log(
      LogLevel::warning,
      fmt::format(
          "the queue \"{}\" is a quorum queue {}: it may delete messages that rest in it, since looking "
          "at them may count. Declare it with a delivery_limit that is never reached (1000000000), or set "
          "one by a policy",
          queue.name, limit));
}

void declare_queue(Connection& connection, const RetryQueue& queue) {
  if (ask(connection, reply_code::not_found, [&](Channel& channel) {
        channel.declare_queue_passive(
            engine::ConnectionAccess::core(connection)->topology().current_name(queue.name));
      })) {
    // A parked queue and a suspect queue should be classic queues.
    if (queue.options.type == QueueType::classic) warn_of_deletions(connection, queue);
    return;
  }
  // 406: another program has declared the queue with other arguments meanwhile.
  ask(connection, reply_code::precondition_failed,
      [&](Channel& channel) { channel.declare_queue(queue.name, queue.options); });
}

void declare_exchange(Connection& connection, const std::string& name) {
  if (ask(connection, reply_code::not_found,
          [&](Channel& channel) { channel.declare_exchange_passive(name); }))
    return;
  ask(connection, reply_code::precondition_failed, [&](Channel& channel) { channel.declare_exchange(name); });
}

}  // namespace

void declare(Connection& connection, const RetryTopology& topology) {
  if (!topology.exchange.empty()) declare_exchange(connection, topology.exchange);
  for (const RetryQueue& queue : topology.queues) declare_queue(connection, queue);
  if (topology.bindings.empty()) return;
  Channel channel = connection.open_channel();
  for (const std::string& name : topology.bindings) {
    channel.declare_queue_passive(name).bind(topology.exchange, name);
  }
}

}  // namespace warren::inline v0::retry

namespace warren::inline v0 {

void RetryPolicy::declare(Connection& connection, std::string_view consumed) const {
  retry::declare(connection, topology(consumed));
  if (shape_ == Shape::none) return;
  engine::ConnectionAccess::core(connection)->topology().parks(std::string(consumed), parked_queue(consumed));
}

}  // namespace warren::inline v0
