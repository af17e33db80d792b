#include <warren/queue.hpp>

#include <utility>

#include "engine/operations.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

constexpr const char* class_name = "Queue";

// A moved-from Exchange has no name, which would mean the default exchange.
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

void Queue::bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  engine::bind(use(session_, class_name, "queue.bind"),
               {true, name_, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  check_moved_from(exchange, "queue.bind");
  bind(exchange.name(), routing_key, arguments);
}

void Queue::unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments) {
  engine::unbind(use(session_, class_name, "queue.unbind"),
                 {true, name_, std::string(exchange), std::string(routing_key), arguments});
}

void Queue::unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments) {
  check_moved_from(exchange, "queue.unbind");
  unbind(exchange.name(), routing_key, arguments);
}

std::uint32_t Queue::purge() { return engine::purge_queue(use(session_, class_name, "queue.purge"), name_); }

std::uint32_t Queue::remove(RemoveOptions options) {
  return engine::delete_queue(use(session_, class_name, "queue.delete"), name_, options);
}

}  // namespace warren::inline v0
