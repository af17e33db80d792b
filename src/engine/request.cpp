#include "engine/request.hpp"

#include <fmt/format.h>

namespace warren::inline v0::engine {

namespace id = wire::id;

Reply ask(ChannelCore& channel, const Request& request, ChannelCore::Deadline deadline) {
  return channel.call(request.operation, request.answer, deadline, request.encode, request.late);
}

ChannelCore::Call begin(ChannelCore& channel, const Request& request) {
  return channel.begin(request.operation, request.answer, request.encode, request.late);
}

namespace request {

Request declare_exchange(const ExchangeRecord& exchange) {
  return {fmt::format("exchange.declare \"{}\"", exchange.name), id::exchange_declare_ok,
          [&exchange](Bytes& out, std::uint16_t channel) {
            wire::exchange_declare(out, channel, exchange.name, exchange.type, exchange.flags,
                                   exchange.arguments);
          }};
}

Request find_exchange(std::string_view name) {
  return {fmt::format("exchange.declare \"{}\"", name), id::exchange_declare_ok,
          [name](Bytes& out, std::uint16_t channel) {
            // The broker ignores the type here, but it must be an existing one.
            wire::exchange_declare(out, channel, name, "direct", {.passive = true}, {});
          }};
}

Request delete_exchange(std::string_view name, RemoveExchangeOptions options) {
  return {fmt::format("exchange.delete \"{}\"", name), id::exchange_delete_ok,
          [name, options](Bytes& out, std::uint16_t channel) {
            wire::exchange_delete(out, channel, name, options.if_unused);
          }};
}

Request declare_queue(const QueueRecord& queue) {
  return {fmt::format("queue.declare \"{}\"", queue.name), id::queue_declare_ok,
          [&queue](Bytes& out, std::uint16_t channel) {
            wire::queue_declare(out, channel, queue.server_named ? "" : queue.name, queue.flags,
                                queue.arguments);
          }};
}

Request find_queue(std::string_view name) {
  return {fmt::format("queue.declare \"{}\"", name), id::queue_declare_ok,
          [name](Bytes& out, std::uint16_t channel) {
            wire::queue_declare(out, channel, name, {.passive = true}, {});
          }};
}

Request purge_queue(std::string_view name) {
  return {fmt::format("queue.purge \"{}\"", name), id::queue_purge_ok,
          [name](Bytes& out, std::uint16_t channel) { wire::queue_purge(out, channel, name); }};
}

Request delete_queue(std::string_view name, RemoveOptions options) {
  return {fmt::format("queue.delete \"{}\"", name), id::queue_delete_ok,
          [name, options](Bytes& out, std::uint16_t channel) {
            wire::queue_delete(out, channel, name, options.if_unused, options.if_empty);
          }};
}

Request bind(const BindingRecord& binding) {
  return {fmt::format("{}.bind \"{}\" to \"{}\"", binding.to_queue ? "queue" : "exchange",
                      binding.destination, binding.source),
          binding.to_queue ? id::queue_bind_ok : id::exchange_bind_ok,
          [&binding](Bytes& out, std::uint16_t channel) {
            const auto bind = binding.to_queue ? wire::queue_bind : wire::exchange_bind;
            bind(out, channel, binding.destination, binding.source, binding.routing_key, binding.arguments);
          }};
}

Request unbind(const BindingRecord& binding) {
  return {fmt::format("{}.unbind \"{}\" from \"{}\"", binding.to_queue ? "queue" : "exchange",
                      binding.destination, binding.source),
          binding.to_queue ? id::queue_unbind_ok : id::exchange_unbind_ok,
          [&binding](Bytes& out, std::uint16_t channel) {
            const auto unbind = binding.to_queue ? wire::queue_unbind : wire::exchange_unbind;
            unbind(out, channel, binding.destination, binding.source, binding.routing_key, binding.arguments);
          }};
}

Request get(std::string_view queue, NoAck no_ack) {
  using Late = ChannelCore::LateDelivery;
  return {fmt::format("basic.get \"{}\"", queue), id::basic_get_ok,
          [queue, no_ack](Bytes& out, std::uint16_t channel) {
            wire::basic_get(out, channel, queue, no_ack == NoAck::yes);
          },
          no_ack == NoAck::yes ? Late::keep : Late::requeue};
}

Request set_prefetch(std::uint16_t count) {
  return {"basic.qos", id::basic_qos_ok,
          [count](Bytes& out, std::uint16_t channel) { wire::basic_qos(out, channel, count); }};
}

Request consume(std::string_view queue, std::string_view consumer_tag, wire::ConsumeFlags flags,
                const FieldTable& arguments) {
  return {fmt::format("basic.consume \"{}\"", queue), id::basic_consume_ok,
          [queue, consumer_tag, flags, &arguments](Bytes& out, std::uint16_t channel) {
            wire::basic_consume(out, channel, queue, consumer_tag, flags, arguments);
          }};
}

Request cancel(std::string_view consumer_tag) {
  return {"basic.cancel", id::basic_cancel_ok, [consumer_tag](Bytes& out, std::uint16_t channel) {
            wire::basic_cancel(out, channel, consumer_tag);
          }};
}

Request confirm_select() { return {"confirm.select", id::confirm_select_ok, wire::confirm_select}; }

}  // namespace request
}  // namespace warren::inline v0::engine
