#include "wire/methods.hpp"

#include <new>

#include "values/utf8.hpp"
#include "wire/byte_reader.hpp"
#include "wire/check.hpp"
#include "wire/method_frame.hpp"
#include "wire/table_codec.hpp"

namespace warren::inline v0::wire {
namespace {

// RabbitMQ closes the connection (501) if a method's text is not UTF-8. It accepts any bytes in basic.publish
// and in a message's properties.
amqp_bytes_t short_string(std::string_view value, const char* operation, const char* name) {
  check_short_string(value, operation, name);
  if (!is_utf8(value)) refuse(operation, std::string(name) + " is not UTF-8");
  return to_bytes(value);
}

}  // namespace

void connection_close(Bytes& out, std::uint16_t code, std::string_view text) {
  amqp_connection_close_t method{};
  method.reply_code = code;
  method.reply_text = short_string(text, "connection.close", "reply text");
  append_method(out, 0, AMQP_CONNECTION_CLOSE_METHOD, &method);
}

void connection_close_ok(Bytes& out) {
  amqp_connection_close_ok_t method{};
  append_method(out, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &method);
}

void channel_open(Bytes& out, std::uint16_t channel) {
  amqp_channel_open_t method{};
  append_method(out, channel, AMQP_CHANNEL_OPEN_METHOD, &method);
}

void channel_close(Bytes& out, std::uint16_t channel, std::uint16_t code, std::string_view text) {
  amqp_channel_close_t method{};
  method.reply_code = code;
  method.reply_text = short_string(text, "channel.close", "reply text");
  append_method(out, channel, AMQP_CHANNEL_CLOSE_METHOD, &method);
}

void channel_close_ok(Bytes& out, std::uint16_t channel) {
  amqp_channel_close_ok_t method{};
  append_method(out, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &method);
}

void exchange_declare(Bytes& out, std::uint16_t channel, std::string_view exchange, std::string_view type,
                      ExchangeFlags flags, const FieldTable& arguments) {
  Pool pool;
  amqp_exchange_declare_t method{};
  method.exchange = short_string(exchange, "exchange.declare", "exchange");
  method.type = short_string(type, "exchange.declare", "type");
  method.passive = flags.passive ? 1 : 0;
  method.durable = flags.durable ? 1 : 0;
  method.auto_delete = flags.auto_delete ? 1 : 0;
  method.internal = flags.internal ? 1 : 0;
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_EXCHANGE_DECLARE_METHOD, &method);
}

void exchange_delete(Bytes& out, std::uint16_t channel, std::string_view exchange, bool if_unused) {
  amqp_exchange_delete_t method{};
  method.exchange = short_string(exchange, "exchange.delete", "exchange");
  method.if_unused = if_unused ? 1 : 0;
  append_method(out, channel, AMQP_EXCHANGE_DELETE_METHOD, &method);
}

void exchange_bind(Bytes& out, std::uint16_t channel, std::string_view destination, std::string_view source,
                   std::string_view routing_key, const FieldTable& arguments) {
  Pool pool;
  amqp_exchange_bind_t method{};
  method.destination = short_string(destination, "exchange.bind", "destination");
  method.source = short_string(source, "exchange.bind", "source");
  method.routing_key = short_string(routing_key, "exchange.bind", "routing_key");
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_EXCHANGE_BIND_METHOD, &method);
}

void exchange_unbind(Bytes& out, std::uint16_t channel, std::string_view destination, std::string_view source,
                     std::string_view routing_key, const FieldTable& arguments) {
  Pool pool;
  amqp_exchange_unbind_t method{};
  method.destination = short_string(destination, "exchange.unbind", "destination");
  method.source = short_string(source, "exchange.unbind", "source");
  method.routing_key = short_string(routing_key, "exchange.unbind", "routing_key");
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_EXCHANGE_UNBIND_METHOD, &method);
}

void queue_declare(Bytes& out, std::uint16_t channel, std::string_view queue, QueueFlags flags,
                   const FieldTable& arguments) {
  Pool pool;
  amqp_queue_declare_t method{};
  method.queue = short_string(queue, "queue.declare", "queue");
  method.passive = flags.passive ? 1 : 0;
  method.durable = flags.durable ? 1 : 0;
  method.exclusive = flags.exclusive ? 1 : 0;
  method.auto_delete = flags.auto_delete ? 1 : 0;
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_QUEUE_DECLARE_METHOD, &method);
}

void queue_bind(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view exchange,
                std::string_view routing_key, const FieldTable& arguments) {
  Pool pool;
  amqp_queue_bind_t method{};
  method.queue = short_string(queue, "queue.bind", "queue");
  method.exchange = short_string(exchange, "queue.bind", "exchange");
  method.routing_key = short_string(routing_key, "queue.bind", "routing_key");
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_QUEUE_BIND_METHOD, &method);
}

void queue_unbind(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view exchange,
                  std::string_view routing_key, const FieldTable& arguments) {
  Pool pool;
  amqp_queue_unbind_t method{};
  method.queue = short_string(queue, "queue.unbind", "queue");
  method.exchange = short_string(exchange, "queue.unbind", "exchange");
  method.routing_key = short_string(routing_key, "queue.unbind", "routing_key");
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_QUEUE_UNBIND_METHOD, &method);
}

void queue_purge(Bytes& out, std::uint16_t channel, std::string_view queue) {
  amqp_queue_purge_t method{};
  method.queue = short_string(queue, "queue.purge", "queue");
  append_method(out, channel, AMQP_QUEUE_PURGE_METHOD, &method);
}

void queue_delete(Bytes& out, std::uint16_t channel, std::string_view queue, bool if_unused, bool if_empty) {
  amqp_queue_delete_t method{};
  method.queue = short_string(queue, "queue.delete", "queue");
  method.if_unused = if_unused ? 1 : 0;
  method.if_empty = if_empty ? 1 : 0;
  append_method(out, channel, AMQP_QUEUE_DELETE_METHOD, &method);
}

void basic_qos(Bytes& out, std::uint16_t channel, std::uint16_t prefetch_count) {
  amqp_basic_qos_t method{};
  method.prefetch_count = prefetch_count;
  append_method(out, channel, AMQP_BASIC_QOS_METHOD, &method);
}

void basic_consume(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view consumer_tag,
                   ConsumeFlags flags, const FieldTable& arguments) {
  Pool pool;
  amqp_basic_consume_t method{};
  method.queue = short_string(queue, "basic.consume", "queue");
  method.consumer_tag = short_string(consumer_tag, "basic.consume", "consumer_tag");
  method.no_local = flags.no_local ? 1 : 0;
  method.no_ack = flags.no_ack ? 1 : 0;
  method.exclusive = flags.exclusive ? 1 : 0;
  method.arguments = to_amqp(arguments, pool);
  append_method(out, channel, AMQP_BASIC_CONSUME_METHOD, &method);
}

void basic_cancel(Bytes& out, std::uint16_t channel, std::string_view consumer_tag) {
  amqp_basic_cancel_t method{};
  method.consumer_tag = short_string(consumer_tag, "basic.cancel", "consumer_tag");
  append_method(out, channel, AMQP_BASIC_CANCEL_METHOD, &method);
}

void basic_cancel_ok(Bytes& out, std::uint16_t channel, std::string_view consumer_tag) {
  amqp_basic_cancel_ok_t method{};
  method.consumer_tag = short_string(consumer_tag, "basic.cancel-ok", "consumer_tag");
  append_method(out, channel, AMQP_BASIC_CANCEL_OK_METHOD, &method);
}

void basic_get(Bytes& out, std::uint16_t channel, std::string_view queue, bool no_ack) {
  amqp_basic_get_t method{};
  method.queue = short_string(queue, "basic.get", "queue");
  method.no_ack = no_ack ? 1 : 0;
  append_method(out, channel, AMQP_BASIC_GET_METHOD, &method);
}

void basic_ack(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool multiple) {
  amqp_basic_ack_t method{};
  method.delivery_tag = delivery_tag;
  method.multiple = multiple ? 1 : 0;
  append_method(out, channel, AMQP_BASIC_ACK_METHOD, &method);
}

void basic_nack(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool multiple, bool requeue) {
  amqp_basic_nack_t method{};
  method.delivery_tag = delivery_tag;
  method.multiple = multiple ? 1 : 0;
  method.requeue = requeue ? 1 : 0;
  append_method(out, channel, AMQP_BASIC_NACK_METHOD, &method);
}

void basic_reject(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool requeue) {
  amqp_basic_reject_t method{};
  method.delivery_tag = delivery_tag;
  method.requeue = requeue ? 1 : 0;
  append_method(out, channel, AMQP_BASIC_REJECT_METHOD, &method);
}

void confirm_select(Bytes& out, std::uint16_t channel) {
  amqp_confirm_select_t method{};
  append_method(out, channel, AMQP_CONFIRM_SELECT_METHOD, &method);
}

std::uint32_t method_id(std::string_view payload) { return ByteReader(payload).number<std::uint32_t>(); }

InboundMethod decode_method(std::string_view payload, Pool& pool) {
  InboundMethod out;
  ByteReader reader(payload);
  out.id = reader.number<std::uint32_t>();

  // rabbitmq-c's struct for the method, T. Methods that a broker has no reason to send are not decoded: their
  // tables would go through rabbitmq-c's decoder, which has no bounds.
  const auto decoded = [&]<typename T>(const T*) -> const T& {
    void* result = nullptr;
    const int status = amqp_decode_method(out.id, pool.get(), to_bytes(reader.rest()), &result);
    if (status == AMQP_STATUS_NO_MEMORY) throw std::bad_alloc();
    if (status < 0 || result == nullptr) throw MalformedFrame("the arguments of a method cannot be read");
    return *static_cast<const T*>(result);
  };
  const auto take_close = [&out](const auto& method) {
    out.code = method.reply_code;
    out.text = to_view(method.reply_text);
    out.class_id = method.class_id;
    out.method_id = method.method_id;
  };
  const auto take_settled = [&out](const auto& method) {
    out.delivery_tag = method.delivery_tag;
    out.multiple = method.multiple != 0;
  };
  const auto take_delivery = [&out](const auto& method) {
    out.delivery_tag = method.delivery_tag;
    out.redelivered = method.redelivered != 0;
    out.exchange = to_view(method.exchange);
    out.routing_key = to_view(method.routing_key);
  };

  switch (out.id) {
    case id::connection_close: {
      const auto& method = decoded(static_cast<const amqp_connection_close_t*>(nullptr));
      take_close(method);
      break;
    }
    case id::channel_close: {
      const auto& method = decoded(static_cast<const amqp_channel_close_t*>(nullptr));
      take_close(method);
      break;
    }
    case id::connection_blocked: {
      const auto& method = decoded(static_cast<const amqp_connection_blocked_t*>(nullptr));
      out.text = to_view(method.reason);
      break;
    }
    case id::channel_flow: {
      const auto& method = decoded(static_cast<const amqp_channel_flow_t*>(nullptr));
      out.active = method.active != 0;
      break;
    }
    case id::queue_declare_ok: {
      const auto& method = decoded(static_cast<const amqp_queue_declare_ok_t*>(nullptr));
      out.name = to_view(method.queue);
      out.message_count = method.message_count;
      out.consumer_count = method.consumer_count;
      break;
    }
    case id::queue_purge_ok: {
      const auto& method = decoded(static_cast<const amqp_queue_purge_ok_t*>(nullptr));
      out.message_count = method.message_count;
      break;
    }
    case id::queue_delete_ok: {
      const auto& method = decoded(static_cast<const amqp_queue_delete_ok_t*>(nullptr));
      out.message_count = method.message_count;
      break;
    }
    case id::basic_consume_ok: {
      const auto& method = decoded(static_cast<const amqp_basic_consume_ok_t*>(nullptr));
      out.name = to_view(method.consumer_tag);
      break;
    }
    case id::basic_cancel: {
      const auto& method = decoded(static_cast<const amqp_basic_cancel_t*>(nullptr));
      out.name = to_view(method.consumer_tag);
      break;
    }
    case id::basic_cancel_ok: {
      const auto& method = decoded(static_cast<const amqp_basic_cancel_ok_t*>(nullptr));
      out.name = to_view(method.consumer_tag);
      break;
    }
    case id::basic_return: {
      const auto& method = decoded(static_cast<const amqp_basic_return_t*>(nullptr));
      out.code = method.reply_code;
      out.text = to_view(method.reply_text);
      out.exchange = to_view(method.exchange);
      out.routing_key = to_view(method.routing_key);
      break;
    }
    case id::basic_deliver: {
      const auto& method = decoded(static_cast<const amqp_basic_deliver_t*>(nullptr));
      take_delivery(method);
      out.name = to_view(method.consumer_tag);
      break;
    }
    case id::basic_get_ok: {
      const auto& method = decoded(static_cast<const amqp_basic_get_ok_t*>(nullptr));
      take_delivery(method);
      out.message_count = method.message_count;
      break;
    }
    case id::basic_ack: {
      const auto& method = decoded(static_cast<const amqp_basic_ack_t*>(nullptr));
      take_settled(method);
      break;
    }
    case id::basic_nack: {
      const auto& method = decoded(static_cast<const amqp_basic_nack_t*>(nullptr));
      take_settled(method);
      out.requeue = method.requeue != 0;
      break;
    }
    default:
      break;  // no fields, or an unknown method
  }
  return out;
}

}  // namespace warren::inline v0::wire
