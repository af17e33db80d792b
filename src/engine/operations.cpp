#include "engine/operations.hpp"

#include <fmt/format.h>

#include <utility>

#include <warren/error.hpp>

#include "engine/arguments.hpp"
#include "engine/delivery_access.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

// RabbitMQ can be configured to deny queues that are neither durable nor exclusive (a deprecated feature,
// still permitted by default in 4.3.6). Then it declares nothing, and closes the connection.
[[noreturn]] void refuse_transient(const ConnectionError& error) {
  if (!wire::is_denied_transient_queue(error.code(), error.text())) throw error;
  ErrorDetails details = error.details();
  details.text =
      "the broker refuses a queue that is neither durable nor exclusive, and has closed the connection: set "
      "QueueOptions::durable or QueueOptions::exclusive. It says: " +
      details.text;
  details.permanent = true;
  details.in_doubt = false;
  throw ConnectionError(std::move(details));
}

}  // namespace

DeclaredQueue declare_queue(Session& session, std::string_view name, const QueueOptions& options) {
  QueueRecord record{.name = std::string(name),
                     .server_named = name.empty(),
                     .flags = {.durable = options.durable,
                               .exclusive = options.exclusive,
                               .auto_delete = options.auto_delete},
                     .arguments = queue_arguments(options)};
  Reply reply;
  try {
    reply = session.call([&] { return request::declare_queue(record); });
  } catch (const ConnectionError& error) {
    if (options.durable || options.exclusive) throw;
    refuse_transient(error);
  }
  record.name = reply.name;
  session.connection().topology().declared(std::move(record));
  return {std::move(reply.name), reply.message_count, reply.consumer_count};
}

DeclaredQueue find_queue(Session& session, std::string_view name) {
  Reply reply = session.call([&] { return request::find_queue(name); });
  session.connection().topology().used(name);
  return {std::move(reply.name), reply.message_count, reply.consumer_count};
}

std::uint32_t purge_queue(Session& session, std::string_view queue) {
  std::string name;
  return session
      .call([&] {
        name = session.connection().topology().current_name(queue);
        return request::purge_queue(name);
      })
      .message_count;
}

std::uint32_t delete_queue(Session& session, std::string_view queue, RemoveOptions options) {
  std::string name;
  const Reply reply = session.call([&] {
    name = session.connection().topology().current_name(queue);
    return request::delete_queue(name, options);
  });
  session.connection().topology().queue_gone(name);
  return reply.message_count;
}

void declare_exchange(Session& session, std::string_view name, const ExchangeOptions& options) {
  ExchangeRecord record{
      .name = std::string(name),
      .type = options.custom_type ? *options.custom_type : to_string(options.type),
      .flags = {.durable = options.durable, .auto_delete = options.auto_delete, .internal = options.internal},
      .arguments = exchange_arguments(options)};
  session.call([&] { return request::declare_exchange(record); });
  session.connection().topology().declared(std::move(record));
}

void find_exchange(Session& session, std::string_view name) {
  session.call([&] { return request::find_exchange(name); });
}

void delete_exchange(Session& session, std::string_view name, RemoveExchangeOptions options) {
  session.call([&] { return request::delete_exchange(name, options); });
  session.connection().topology().exchange_gone(name);
}

void bind(Session& session, BindingRecord binding) {
  Topology& topology = session.connection().topology();
  session.call([&] {
    if (binding.to_queue) binding.destination = topology.current_name(binding.destination);
    return request::bind(binding);
  });
  topology.bound(std::move(binding));
}

void unbind(Session& session, BindingRecord binding) {
  Topology& topology = session.connection().topology();
  session.call([&] {
    if (binding.to_queue) binding.destination = topology.current_name(binding.destination);
    return request::unbind(binding);
  });
  topology.unbound(binding);
}

std::optional<Delivery> get(Session& session, std::string_view queue, NoAck no_ack) {
  Topology& topology = session.connection().topology();
  std::string name;
  Reply reply = session.call([&] {
    name = topology.current_name(queue);
    return request::get(name, no_ack);
  });
  topology.used(queue);
  if (!reply.content) return std::nullopt;
  Delivery& delivery = reply.content->delivery;
  const auto channel = DeliveryAccess::channel(delivery);
  if (channel && no_ack == NoAck::yes) channel->settled_by_broker(delivery.delivery_tag());
  if (!reply.content->fault.empty()) {
    if (channel && no_ack == NoAck::no)
      channel->refuse(delivery.delivery_tag(), /*requeue=*/true, /*reject=*/false);
    throw Error({.operation = fmt::format("basic.get \"{}\"", queue),
                 .text = "the properties of the message can't be read: " + reply.content->fault,
                 .permanent = true});
  }
  return std::move(delivery);
}

void publish(Session& session, std::string_view exchange, std::string_view routing_key,
             const Message& message) {
  const std::string operation = "basic.publish";
  ConnectionCore& connection = session.connection();
  const auto deadline = connection.operation_deadline();
  connection.unless_lost(deadline, [&] {
    for (;;) {
      const auto channel = session.channel_for(operation, deadline);
      const auto encode = [&](Bytes& out, std::uint16_t number) {
        wire::append_content(out, number, exchange, routing_key, false, message.properties(), std::nullopt,
                             message.body(), channel->frame_max());
      };
      if (channel->send(operation, Outbox::Entry::bulk, encode)) return;
      if (connection.outbox().wait_for_space(deadline)) continue;
      throw TimeoutError({.operation = operation, .text = "no room to send it before the deadline"});
    }
  });
}

}  // namespace warren::inline v0::engine
