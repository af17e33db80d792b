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

std::string Queue::name() const { return session_->connection().topology().current_name(name_); }

// The name is asked for once the call is sent: it may have waited for a recovery, which gives another one.
void Queue::bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  const std::string queue = name();
  session_->call(fmt::format("queue.bind \"{}\" to \"{}\"", queue, exchange), id::queue_bind_ok,
                 [&](Bytes& out, std::uint16_t channel) {
                   wire::queue_bind(out, channel, name(), exchange, routing_key, arguments);
                 });
  session_->connection().topology().bound(
      {true, queue, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  bind(exchange.name(), routing_key, arguments);
}

void Queue::unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  const std::string queue = name();
  session_->call(fmt::format("queue.unbind \"{}\" from \"{}\"", queue, exchange), id::queue_unbind_ok,
                 [&](Bytes& out, std::uint16_t channel) {
                   wire::queue_unbind(out, channel, name(), exchange, routing_key, arguments);
                 });
  session_->connection().topology().unbound(
      {true, queue, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  unbind(exchange.name(), routing_key, arguments);
}

std::uint32_t Queue::purge() {
  const std::string queue = name();
  return session_
      ->call(fmt::format("queue.purge \"{}\"", queue), id::queue_purge_ok,
             [&](Bytes& out, std::uint16_t channel) { wire::queue_purge(out, channel, name()); })
      .message_count;
}

std::uint32_t Queue::remove(RemoveOptions options) {
  const std::string queue = name();
  const auto count =
      session_
          ->call(fmt::format("queue.delete \"{}\"", queue), id::queue_delete_ok,
                 [&](Bytes& out, std::uint16_t channel) {
                   wire::queue_delete(out, channel, name(), options.if_unused, options.if_empty);
                 })
          .message_count;
  session_->connection().topology().queue_gone(queue);
  return count;
}

}  // namespace warren::inline v0
