#include <warren/channel.hpp>

#include <utility>

#include "engine/operations.hpp"
#include "engine/system.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

constexpr const char* class_name = "Channel";

}  // namespace

Channel::Channel(std::shared_ptr<engine::Session> session) noexcept : session_(std::move(session)) {}
Channel::Channel(Channel&&) noexcept = default;

Channel& Channel::operator=(Channel&& other) noexcept {
  if (this != &other) {
    Channel gone(std::move(*this));
    session_ = std::move(other.session_);
  }
  return *this;
}

Channel::~Channel() {
  if (!is_to_close(session_)) return;
  session_->end()->begin_close();
}

Exchange Channel::declare_exchange(std::string_view name, const ExchangeOptions& options) {
  engine::declare_exchange(use(session_, class_name, "exchange.declare"), name, options);
  return Exchange(engine::make_at_home<engine::Session>(session_), std::string(name));
}

Exchange Channel::declare_exchange_passive(std::string_view name) {
  engine::find_exchange(use(session_, class_name, "exchange.declare"), name);
  return Exchange(engine::make_at_home<engine::Session>(session_), std::string(name));
}

Queue Channel::declare_queue(std::string_view name, const QueueOptions& options) {
  engine::DeclaredQueue declared =
      engine::declare_queue(use(session_, class_name, "queue.declare"), name, options);
  return Queue(engine::make_at_home<engine::Session>(session_), std::move(declared.name),
               declared.message_count, declared.consumer_count);
}

Queue Channel::declare_queue_passive(std::string_view name) {
  engine::DeclaredQueue found = engine::find_queue(use(session_, class_name, "queue.declare"), name);
  return Queue(engine::make_at_home<engine::Session>(session_), std::move(found.name), found.message_count,
               found.consumer_count);
}

std::optional<Delivery> Channel::get(std::string_view queue) {
  return engine::get(use(session_, class_name, "basic.get"), queue, engine::NoAck::no);
}
std::optional<Delivery> Channel::get_no_ack(std::string_view queue) {
  return engine::get(use(session_, class_name, "basic.get"), queue, engine::NoAck::yes);
}

void Channel::set_prefetch(std::uint16_t count) {
  engine::Session& session = use(session_, class_name, "basic.qos");
  if (count == 0) {
    throw InvalidArgument({.operation = "basic.qos",
                           .text = "a prefetch of 0 would be without a limit: it is at least 1",
                           .permanent = true});
  }
  session.set_prefetch(count);
}

void Channel::publish(std::string_view exchange, std::string_view routing_key, const Message& message) {
  engine::publish(use(session_, class_name, "basic.publish"), exchange, routing_key, message);
}

void Channel::close() noexcept {
  if (!is_to_close(session_)) return;
  try {
    session_->end()->close(session_->connection().operation_deadline());
  } catch (...) {  // no answer in time, or the channel is gone: there is nothing left to close
  }
}

bool Channel::is_open() const noexcept { return is_to_close(session_) && session_->channel()->is_open(); }
std::uint16_t Channel::number() const noexcept {
  return is_to_close(session_) ? session_->channel()->number() : std::uint16_t{0};
}

}  // namespace warren::inline v0
