#include <warren/channel.hpp>

#include <fmt/format.h>

#include <utility>

#include "engine/arguments.hpp"
#include "engine/delivery_access.hpp"
#include "engine/session.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

using engine::Bytes;
namespace id = wire::id;

constexpr const char* class_name = "Channel";
constexpr std::uint16_t internal_error = 541;

std::string declare_queue_operation(std::string_view name) {
  return fmt::format("queue.declare \"{}\"", name);
}
std::string declare_exchange_operation(std::string_view name) {
  return fmt::format("exchange.declare \"{}\"", name);
}

engine::Reply declare(engine::Session& session, std::string_view name, wire::QueueFlags flags,
                      const FieldTable& arguments) {
  return session.call(
      declare_queue_operation(name), id::queue_declare_ok,
      [&](Bytes& out, std::uint16_t channel) { wire::queue_declare(out, channel, name, flags, arguments); });
}

void declare(engine::Session& session, std::string_view name, std::string_view type,
             wire::ExchangeFlags flags, const FieldTable& arguments) {
  session.call(declare_exchange_operation(name), id::exchange_declare_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::exchange_declare(out, channel, name, type, flags, arguments);
               });
}

// RabbitMQ may be told to deny queues that are neither durable nor exclusive (a deprecated feature, still
// permitted by default in 4.3.6): it declares nothing, and closes the connection.
[[noreturn]] void refuse_transient(const ConnectionError& error) {
  if (error.code() != internal_error || error.text().find("transient_nonexcl_queues") == std::string::npos)
    throw error;
  ErrorDetails details = error.details();
  details.text =
      "the broker refuses a queue that is neither durable nor exclusive, and has closed the connection: set "
      "QueueOptions::durable or QueueOptions::exclusive. It says: " +
      details.text;
  details.permanent = true;
  details.in_doubt = false;
  throw ConnectionError(std::move(details));
}

std::optional<Delivery> get(engine::Session& session, std::string_view queue, bool no_ack) {
  using Late = engine::ChannelCore::LateDelivery;
  engine::Reply reply = session.call(
      fmt::format("basic.get \"{}\"", queue), id::basic_get_ok,
      [&](Bytes& out, std::uint16_t channel) {
        wire::basic_get(out, channel, session.connection().topology().current_name(queue), no_ack);
      },
      no_ack ? Late::keep : Late::requeue);
  session.connection().topology().used(queue);
  if (!reply.content) return std::nullopt;
  if (no_ack) {
    const auto channel = engine::DeliveryAccess::channel(reply.content->delivery);
    if (channel) channel->settled_by_broker(reply.content->delivery.delivery_tag());
  }
  if (!reply.content->fault.empty()) {
    if (!no_ack) reply.content->delivery.nack(Requeue::yes);
    throw Error({.operation = fmt::format("basic.get \"{}\"", queue),
                 .text = "the properties of the message can't be read: " + reply.content->fault,
                 .permanent = true});
  }
  return std::move(reply.content->delivery);
}

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
  engine::Session& session = use(session_, class_name, "exchange.declare");
  engine::ExchangeRecord record{
      .name = std::string(name),
      .type = options.custom_type ? *options.custom_type : engine::exchange_type(options.type),
      .flags = {.durable = options.durable, .auto_delete = options.auto_delete, .internal = options.internal},
      .arguments = engine::exchange_arguments(options)};
  declare(session, record.name, record.type, record.flags, record.arguments);
  session.connection().topology().declared(std::move(record));
  return Exchange(session_, std::string(name));
}

Exchange Channel::declare_exchange_passive(std::string_view name) {
  // The type is not looked at, but must be one that exists.
  declare(use(session_, class_name, "exchange.declare"), name, "direct", {.passive = true}, {});
  return Exchange(session_, std::string(name));
}

Queue Channel::declare_queue(std::string_view name, const QueueOptions& options) {
  engine::Session& session = use(session_, class_name, "queue.declare");
  engine::QueueRecord record{.name = std::string(name),
                             .server_named = name.empty(),
                             .flags = {.durable = options.durable,
                                       .exclusive = options.exclusive,
                                       .auto_delete = options.auto_delete},
                             .arguments = engine::queue_arguments(options)};
  engine::Reply reply;
  try {
    reply = declare(session, record.name, record.flags, record.arguments);
  } catch (const ConnectionError& error) {
    if (options.durable || options.exclusive) throw;
    refuse_transient(error);
  }
  record.name = reply.name;
  session.connection().topology().declared(std::move(record));
  return Queue(session_, std::move(reply.name), reply.message_count, reply.consumer_count);
}

Queue Channel::declare_queue_passive(std::string_view name) {
  engine::Reply reply = declare(use(session_, class_name, "queue.declare"), name, {.passive = true}, {});
  session_->connection().topology().used(name);
  return Queue(session_, std::move(reply.name), reply.message_count, reply.consumer_count);
}

std::optional<Delivery> Channel::get(std::string_view queue) {
  return warren::get(use(session_, class_name, "basic.get"), queue, false);
}
std::optional<Delivery> Channel::get_no_ack(std::string_view queue) {
  return warren::get(use(session_, class_name, "basic.get"), queue, true);
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
  const std::string operation = "basic.publish";
  engine::Session& session = use(session_, class_name, "basic.publish");
  engine::ConnectionCore& connection = session.connection();
  const auto deadline = connection.operation_deadline();
  connection.unless_lost(deadline, [&] {
    for (;;) {
      const auto channel = session.channel_for(operation, deadline);
      const auto encode = [&](Bytes& out, std::uint16_t number) {
        wire::append_content(out, number, exchange, routing_key, false, message.properties(), std::nullopt,
                             message.body(), channel->frame_max());
      };
      if (channel->send(operation, engine::Outbox::Entry::bulk, encode)) return;
      if (connection.outbox().wait_for_space(deadline)) continue;
      throw TimeoutError({.operation = operation, .text = "no room to send it before the deadline"});
    }
  });
}

void Channel::close() noexcept {
  if (!is_to_close(session_)) return;
  try {
    session_->end()->close(session_->connection().operation_deadline());
  } catch (...) {  // no answer in time, or the channel is gone: nothing is left to close
  }
}

bool Channel::is_open() const noexcept { return is_to_close(session_) && session_->channel()->is_open(); }
std::uint16_t Channel::number() const noexcept {
  return is_to_close(session_) ? session_->channel()->number() : std::uint16_t{0};
}

}  // namespace warren::inline v0
