#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <warren/exchange_options.hpp>
#include <warren/queue_options.hpp>

#include "engine/channel_core.hpp"
#include "engine/topology.hpp"

namespace warren::inline v0::engine {

/// A method that the broker answers, not yet tied to a channel.
struct Request {
  std::string operation{};   ///< for errors, in AMQP's terms: `queue.declare "orders"`
  std::uint32_t answer = 0;  ///< the method of the answer, from wire::id
  std::function<void(Bytes&, std::uint16_t channel)> encode{};
  ChannelCore::LateDelivery late = ChannelCore::LateDelivery::keep;
};

/// Sends a request and waits for the answer: ChannelCore::call(), with its errors.
Reply ask(ChannelCore& channel, const Request& request, ChannelCore::Deadline deadline);
/// Sends a request and does not wait: ChannelCore::begin(), with its errors.
[[nodiscard]] ChannelCore::Call begin(ChannelCore& channel, const Request& request);

enum class NoAck : bool { no, yes };

/// The requests. Each refers to its arguments, which must outlive it.
namespace request {

[[nodiscard]] Request declare_exchange(const ExchangeRecord& exchange);
/// A passive declaration, which checks that the exchange exists.
[[nodiscard]] Request find_exchange(std::string_view name);
[[nodiscard]] Request delete_exchange(std::string_view name, RemoveExchangeOptions options);

/// Declares a queue. If the broker named it, the declaration asks for a new name.
[[nodiscard]] Request declare_queue(const QueueRecord& queue);
/// A passive declaration, which checks that the queue exists, and asks for its counts.
[[nodiscard]] Request find_queue(std::string_view name);
[[nodiscard]] Request purge_queue(std::string_view name);
[[nodiscard]] Request delete_queue(std::string_view name, RemoveOptions options);

[[nodiscard]] Request bind(const BindingRecord& binding);
[[nodiscard]] Request unbind(const BindingRecord& binding);

/// Answered by basic.get-ok or basic.get-empty. A message that arrives after the caller gave up is requeued,
/// except with NoAck::yes: then it is lost.
[[nodiscard]] Request get(std::string_view queue, NoAck no_ack);
[[nodiscard]] Request set_prefetch(std::uint16_t count);
[[nodiscard]] Request consume(std::string_view queue, std::string_view consumer_tag, wire::ConsumeFlags flags,
                              const FieldTable& arguments);
[[nodiscard]] Request cancel(std::string_view consumer_tag);
[[nodiscard]] Request confirm_select();

}  // namespace request
}  // namespace warren::inline v0::engine
