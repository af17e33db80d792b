#include "retry/topology.hpp"

#include <cstdint>
#include <functional>
#include <string>

#include <warren/channel.hpp>
#include <warren/error.hpp>

namespace warren::inline v0::retry {
namespace {

constexpr std::uint16_t not_found = 404;
constexpr std::uint16_t precondition_failed = 406;

// A refusal closes its channel, so each question has one of its own. False where the answer is `refusal`.
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

void declare_queue(Connection& connection, const RetryQueue& queue) {
  if (ask(connection, not_found, [&](Channel& channel) { channel.declare_queue_passive(queue.name); }))
    return;
  // 406: somebody else was faster, and declared it otherwise.
  ask(connection, precondition_failed,
      [&](Channel& channel) { channel.declare_queue(queue.name, queue.options); });
}

void declare_exchange(Connection& connection, const std::string& name) {
  if (ask(connection, not_found, [&](Channel& channel) { channel.declare_exchange_passive(name); })) return;
  ask(connection, precondition_failed, [&](Channel& channel) { channel.declare_exchange(name); });
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
