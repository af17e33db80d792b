#include <warren/queue.hpp>

#include <fmt/format.h>

#include <utility>

#include "engine/session.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {

using engine::Bytes;
namespace id = wire::id;
namespace {

constexpr const char* class_name = "Queue";

// An exchange that was moved from has no name, which would be the default exchange's.
void check_moved_from(const Exchange& exchange, const char* operation) {
  if (exchange.name().empty()) refuse_moved_from("Exchange", operation);
}

}  // namespace

Queue::Queue(std::shared_ptr<engine::Session> session, std::string name, std::uint32_t messages,
             std::uint32_t consumers)
    : session_(std::move(session)),
      name_(std::move(name)),
      message_count_(messages),
      consumer_count_(consumers) {}

std::string Queue::name() const {
  return use(session_, class_name, "queue name").connection().topology().current_name(name_);
}

// The name is asked for once the call is sent: it may have waited for a recovery, which gives another one.
void Queue::bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  engine::Session& session = use(session_, class_name, "queue.bind");
  const std::string queue = name();
  session.call(fmt::format("queue.bind \"{}\" to \"{}\"", queue, exchange), id::queue_bind_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::queue_bind(out, channel, name(), exchange, routing_key, arguments);
               });
  session.connection().topology().bound(
      {true, queue, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  check_moved_from(exchange, "queue.bind");
  bind(exchange.name(), routing_key, arguments);
}

void Queue::unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  engine::Session& session = use(session_, class_name, "queue.unbind");
  const std::string queue = name();
  session.call(fmt::format("queue.unbind \"{}\" from \"{}\"", queue, exchange), id::queue_unbind_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::queue_unbind(out, channel, name(), exchange, routing_key, arguments);
               });
  session.connection().topology().unbound(
      {true, queue, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  check_moved_from(exchange, "queue.unbind");
  unbind(exchange.name(), routing_key, arguments);
}

std::uint32_t Queue::purge() {
  engine::Session& session = use(session_, class_name, "queue.purge");
  const std::string queue = name();
  return session
      .call(fmt::format("queue.purge \"{}\"", queue), id::queue_purge_ok,
            [&](Bytes& out, std::uint16_t channel) { wire::queue_purge(out, channel, name()); })
      .message_count;
}

std::uint32_t Queue::remove(RemoveOptions options) {
  engine::Session& session = use(session_, class_name, "queue.delete");
  const std::string queue = name();
  const auto count =
      session
          .call(fmt::format("queue.delete \"{}\"", queue), id::queue_delete_ok,
                [&](Bytes& out, std::uint16_t channel) {
                  wire::queue_delete(out, channel, name(), options.if_unused, options.if_empty);
                })
          .message_count;
  session.connection().topology().queue_gone(queue);
  return count;
}

}  // namespace warren::inline v0
