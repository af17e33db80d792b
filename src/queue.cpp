#include <warren/queue.hpp>

#include <fmt/format.h>

#include <utility>

#include "engine/session.hpp"

namespace warren::inline v0 {

using engine::Bytes;
namespace id = wire::id;

Queue::Queue(std::shared_ptr<engine::Session> session, std::string name, std::uint32_t messages,
             std::uint32_t consumers)
    : session_(std::move(session)),
      name_(std::move(name)),
      message_count_(messages),
      consumer_count_(consumers) {}

void Queue::bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  session_->call(fmt::format("queue.bind \"{}\" to \"{}\"", name_, exchange), id::queue_bind_ok,
                 [&](Bytes& out, std::uint16_t channel) {
                   wire::queue_bind(out, channel, name_, exchange, routing_key, arguments);
                 });
}

void Queue::bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  bind(exchange.name(), routing_key, arguments);
}

void Queue::unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  session_->call(fmt::format("queue.unbind \"{}\" from \"{}\"", name_, exchange), id::queue_unbind_ok,
                 [&](Bytes& out, std::uint16_t channel) {
                   wire::queue_unbind(out, channel, name_, exchange, routing_key, arguments);
                 });
}

void Queue::unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  unbind(exchange.name(), routing_key, arguments);
}

std::uint32_t Queue::purge() {
  return session_
      ->call(fmt::format("queue.purge \"{}\"", name_), id::queue_purge_ok,
             [&](Bytes& out, std::uint16_t channel) { wire::queue_purge(out, channel, name_); })
      .message_count;
}

std::uint32_t Queue::remove(RemoveOptions options) {
  return session_
      ->call(fmt::format("queue.delete \"{}\"", name_), id::queue_delete_ok,
             [&](Bytes& out, std::uint16_t channel) {
               wire::queue_delete(out, channel, name_, options.if_unused, options.if_empty);
             })
      .message_count;
}

}  // namespace warren::inline v0
