#include "wire/properties_codec.hpp"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <limits>
#include <string>
#include <system_error>

#include "wire/byte_reader.hpp"
#include "wire/check.hpp"
#include "wire/table_codec.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr const char* operation = "basic.publish";
constexpr std::int64_t max_expiration = std::numeric_limits<std::uint32_t>::max();

void set_text(amqp_basic_properties_t& out, amqp_flags_t flag, amqp_bytes_t& target,
              const std::optional<std::string>& value, const char* name) {
  if (!value) return;
  check_short_string(*value, operation, name);
  out._flags |= flag;
  target = to_bytes(*value);
}

amqp_bytes_t expiration_text(std::chrono::milliseconds expiration, Pool& pool) {
  const std::int64_t count = expiration.count();
  if (count < 0 || count > max_expiration) {
    refuse(operation, "expiration is " + std::to_string(count) + " ms, outside 0 to 4294967295");
  }
  constexpr std::size_t digits = 10;
  char* text = pool.allocate<char>(digits);
  const char* end = std::to_chars(text, text + digits, count).ptr;
  return to_bytes(std::string_view(text, static_cast<std::size_t>(end - text)));
}

// RabbitMQ checks the text when a message is published. A text that is not a valid number counts as no
// expiration.
std::optional<std::chrono::milliseconds> parse_expiration(std::string_view text) {
  std::uint32_t count = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return std::chrono::milliseconds(count);
}

}  // namespace

amqp_basic_properties_t to_amqp(const Properties& properties, Pool& pool, std::optional<std::int64_t> stamp,
                                std::optional<DeliveryMode> default_mode) {
  amqp_basic_properties_t out{};
  set_text(out, AMQP_BASIC_CONTENT_TYPE_FLAG, out.content_type, properties.content_type, "content_type");
  set_text(out, AMQP_BASIC_CONTENT_ENCODING_FLAG, out.content_encoding, properties.content_encoding,
           "content_encoding");
  if (stamp || !properties.headers.empty()) {
    out.headers = to_amqp(properties.headers, pool, stamp);
    out._flags |= AMQP_BASIC_HEADERS_FLAG;
  }
  if (const auto mode = properties.delivery_mode ? properties.delivery_mode : default_mode) {
    out.delivery_mode = static_cast<std::uint8_t>(*mode);
    out._flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
  }
  if (properties.priority) {
    out.priority = *properties.priority;
    out._flags |= AMQP_BASIC_PRIORITY_FLAG;
  }
  set_text(out, AMQP_BASIC_CORRELATION_ID_FLAG, out.correlation_id, properties.correlation_id,
           "correlation_id");
  set_text(out, AMQP_BASIC_REPLY_TO_FLAG, out.reply_to, properties.reply_to, "reply_to");
  if (properties.expiration) {
    out.expiration = expiration_text(*properties.expiration, pool);
    out._flags |= AMQP_BASIC_EXPIRATION_FLAG;
  }
  set_text(out, AMQP_BASIC_MESSAGE_ID_FLAG, out.message_id, properties.message_id, "message_id");
  if (properties.timestamp) {
    out.timestamp = static_cast<std::uint64_t>(properties.timestamp->time_since_epoch().count());
    out._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
  }
  set_text(out, AMQP_BASIC_TYPE_FLAG, out.type, properties.type, "type");
  set_text(out, AMQP_BASIC_USER_ID_FLAG, out.user_id, properties.user_id, "user_id");
  set_text(out, AMQP_BASIC_APP_ID_FLAG, out.app_id, properties.app_id, "app_id");
  set_text(out, AMQP_BASIC_CLUSTER_ID_FLAG, out.cluster_id, properties.cluster_id, "cluster_id");
  return out;
}

void decode_properties(std::string_view payload, Properties& out, std::optional<std::int64_t>& stamp) {
  stamp.reset();
  ByteReader reader(payload);
  const auto flags = reader.number<std::uint16_t>();
  // Bit 0 announces more flags, and bit 1 is unused: the class has 14 properties.
  if ((flags & 0x3U) != 0) throw MalformedFrame("unknown property flags");

  const auto has = [flags](amqp_flags_t flag) { return (flags & flag) != 0; };
  const auto text = [&](amqp_flags_t flag, std::optional<std::string>& target) {
    if (!has(flag)) {
      target.reset();
      return;
    }
    const std::string_view value = reader.short_string();
    if (target) {
      target->assign(value);
    } else {
      target.emplace(value);
    }
  };

  text(AMQP_BASIC_CONTENT_TYPE_FLAG, out.content_type);
  text(AMQP_BASIC_CONTENT_ENCODING_FLAG, out.content_encoding);
  if (has(AMQP_BASIC_HEADERS_FLAG)) {
    TableAccess::assign(out.headers, reader.long_string(), stamp);
  } else {
    out.headers.clear();
  }
  out.delivery_mode.reset();
  if (has(AMQP_BASIC_DELIVERY_MODE_FLAG)) {  // only 2 is persistent; some clients send 0
    out.delivery_mode =
        reader.number<std::uint8_t>() == 2 ? DeliveryMode::persistent : DeliveryMode::transient;
  }
  out.priority.reset();
  if (has(AMQP_BASIC_PRIORITY_FLAG)) out.priority = reader.number<std::uint8_t>();
  text(AMQP_BASIC_CORRELATION_ID_FLAG, out.correlation_id);
  text(AMQP_BASIC_REPLY_TO_FLAG, out.reply_to);
  out.expiration.reset();
  if (has(AMQP_BASIC_EXPIRATION_FLAG)) out.expiration = parse_expiration(reader.short_string());
  text(AMQP_BASIC_MESSAGE_ID_FLAG, out.message_id);
  out.timestamp.reset();
  if (has(AMQP_BASIC_TIMESTAMP_FLAG)) {
    out.timestamp =
        Timestamp(std::chrono::seconds(static_cast<std::int64_t>(reader.number<std::uint64_t>())));
  }
  text(AMQP_BASIC_TYPE_FLAG, out.type);
  text(AMQP_BASIC_USER_ID_FLAG, out.user_id);
  text(AMQP_BASIC_APP_ID_FLAG, out.app_id);
  text(AMQP_BASIC_CLUSTER_ID_FLAG, out.cluster_id);
  if (!reader.empty()) throw MalformedFrame("bytes after the last property");
}

}  // namespace warren::inline v0::wire
