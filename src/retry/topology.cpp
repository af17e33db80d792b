#include "retry/topology.hpp"

#include <cstdint>
#include <functional>

#include <warren/channel.hpp>
#include <warren/error.hpp>

namespace warren::inline v0::retry {
namespace {

constexpr std::uint16_t not_found = 404;

// A refusal closes its channel, so each question has one of its own.
void declare_where_missing(Connection& connection, const std::function<void(Channel&)>& passively,
                           const std::function<void(Channel&)>& actively) {
  try {
    Channel channel = connection.open_channel();
    passively(channel);
    return;
  } catch (const ChannelError& error) {
    if (error.code() != not_found) throw;
  }
  Channel channel = connection.open_channel();
  actively(channel);
}

void declare_queue(Connection& connection, const std::string& name, const std::string& exchange) {
  declare_where_missing(
      connection, [&](Channel& channel) { channel.declare_queue_passive(name); },
      [&](Channel& channel) { channel.declare_queue(name); });
  if (exchange.empty()) return;
  Channel channel = connection.open_channel();
  channel.declare_queue_passive(name).bind(exchange, name);
}

}  // namespace

void declare(Connection& connection, const RetryPolicy& policy, const std::string& queue) {
  if (policy.shape() == RetryPolicy::Shape::none) return;
  const std::string parked = policy.parked_queue(queue);
  if (parked == queue) {
    throw InvalidArgument({.operation = "retry policy",
                           .text = "the parked queue is the consumer's own: nothing would rest there",
                           .permanent = true});
  }
  const std::string& exchange = policy.options().exchange;
  if (!exchange.empty()) {
    declare_where_missing(
        connection, [&](Channel& channel) { channel.declare_exchange_passive(exchange); },
        [&](Channel& channel) { channel.declare_exchange(exchange); });
  }
  if (!policy.queue().empty()) declare_queue(connection, policy.queue(), exchange);
  declare_queue(connection, parked, exchange);
}

}  // namespace warren::inline v0::retry
