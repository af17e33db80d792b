#pragma once

#include <cstdint>
#include <string_view>

#include <warren/field_table.hpp>

#include "wire/frame.hpp"

namespace warren::inline v0::wire {

class Pool;

/// Numbers of the methods that a broker sends: the class in the upper half, the method in the lower half.
namespace id {
inline constexpr std::uint32_t connection_close = 0x000A0032, connection_close_ok = 0x000A0033,
                               connection_blocked = 0x000A003C, connection_unblocked = 0x000A003D;
inline constexpr std::uint32_t channel_open_ok = 0x0014000B, channel_flow = 0x00140014,
                               channel_close = 0x00140028, channel_close_ok = 0x00140029;
inline constexpr std::uint32_t exchange_declare_ok = 0x0028000B, exchange_delete_ok = 0x00280015,
                               exchange_bind_ok = 0x0028001F, exchange_unbind_ok = 0x00280033;
inline constexpr std::uint32_t queue_declare_ok = 0x0032000B, queue_bind_ok = 0x00320015,
                               queue_purge_ok = 0x0032001F, queue_delete_ok = 0x00320029,
                               queue_unbind_ok = 0x00320033;
inline constexpr std::uint32_t basic_qos_ok = 0x003C000B, basic_consume_ok = 0x003C0015,
                               basic_cancel = 0x003C001E, basic_cancel_ok = 0x003C001F,
                               basic_return = 0x003C0032, basic_deliver = 0x003C003C,
                               basic_get_ok = 0x003C0047, basic_get_empty = 0x003C0048,
                               basic_ack = 0x003C0050, basic_nack = 0x003C0078;
inline constexpr std::uint32_t confirm_select_ok = 0x0055000B;
}  // namespace id

/// The fields of any received method. A field that the method does not have is 0, false or empty.
struct InboundMethod {
  std::uint32_t id = 0;
  std::uint64_t delivery_tag = 0;
  bool multiple = false;
  bool redelivered = false;
  bool requeue = false;
  bool active = false;  ///< channel.flow
  std::uint16_t code = 0;
  std::uint16_t class_id = 0;
  std::uint16_t method_id = 0;
  std::string_view text{};  ///< reply text, or the reason of connection.blocked
  std::string_view exchange{};
  std::string_view routing_key{};
  std::string_view name{};  ///< queue or consumer tag
  std::uint32_t message_count = 0;
  std::uint32_t consumer_count = 0;
};

/// The number of an encoded method, as defined in `id`. @throws MalformedFrame
[[nodiscard]] std::uint32_t method_id(std::string_view payload);
/// Decodes a method. Views refer to `payload`. For a method that is not in `id`, only the number is set.
/// @throws MalformedFrame
[[nodiscard]] InboundMethod decode_method(std::string_view payload, Pool& pool);

struct ExchangeFlags {
  bool passive = false;
  bool durable = false;
  bool auto_delete = false;
  bool internal = false;
};
struct QueueFlags {
  bool passive = false;
  bool durable = false;
  bool exclusive = false;
  bool auto_delete = false;
};
struct ConsumeFlags {
  bool no_local = false;
  bool no_ack = false;
  bool exclusive = false;
};

// Each function appends one method frame, never with no-wait. It throws InvalidArgument if a string is above
// 255 bytes or the arguments cannot be encoded; `out` is then unchanged.
void connection_close(Bytes& out, std::uint16_t code, std::string_view text);
void connection_close_ok(Bytes& out);
void channel_open(Bytes& out, std::uint16_t channel);
void channel_close(Bytes& out, std::uint16_t channel, std::uint16_t code, std::string_view text);
void channel_close_ok(Bytes& out, std::uint16_t channel);

void exchange_declare(Bytes& out, std::uint16_t channel, std::string_view exchange, std::string_view type,
                      ExchangeFlags flags, const FieldTable& arguments);
void exchange_delete(Bytes& out, std::uint16_t channel, std::string_view exchange, bool if_unused);
void exchange_bind(Bytes& out, std::uint16_t channel, std::string_view destination, std::string_view source,
                   std::string_view routing_key, const FieldTable& arguments);
void exchange_unbind(Bytes& out, std::uint16_t channel, std::string_view destination, std::string_view source,
                     std::string_view routing_key, const FieldTable& arguments);

void queue_declare(Bytes& out, std::uint16_t channel, std::string_view queue, QueueFlags flags,
                   const FieldTable& arguments);
void queue_bind(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view exchange,
                std::string_view routing_key, const FieldTable& arguments);
void queue_unbind(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view exchange,
                  std::string_view routing_key, const FieldTable& arguments);
void queue_purge(Bytes& out, std::uint16_t channel, std::string_view queue);
void queue_delete(Bytes& out, std::uint16_t channel, std::string_view queue, bool if_unused, bool if_empty);

/// The prefetch for each new consumer of the channel. It is never global, since quorum queues refuse that.
void basic_qos(Bytes& out, std::uint16_t channel, std::uint16_t prefetch_count);
void basic_consume(Bytes& out, std::uint16_t channel, std::string_view queue, std::string_view consumer_tag,
                   ConsumeFlags flags, const FieldTable& arguments);
void basic_cancel(Bytes& out, std::uint16_t channel, std::string_view consumer_tag);
void basic_cancel_ok(Bytes& out, std::uint16_t channel, std::string_view consumer_tag);
void basic_get(Bytes& out, std::uint16_t channel, std::string_view queue, bool no_ack);
void basic_ack(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool multiple);
void basic_nack(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool multiple, bool requeue);
void basic_reject(Bytes& out, std::uint16_t channel, std::uint64_t delivery_tag, bool requeue);
void confirm_select(Bytes& out, std::uint16_t channel);

}  // namespace warren::inline v0::wire
