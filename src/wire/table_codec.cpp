#include "wire/table_codec.hpp"

#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "wire/byte_reader.hpp"
#include "wire/check.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr const char* operation = "encode field table";

amqp_table_t encode_entries(const FieldTable& table, Pool& pool, std::optional<std::int64_t> stamp,
                            int depth);

void check_nesting(int depth) {
  if (depth > max_nesting) refuse(operation, "tables and arrays are nested deeper than 32 levels");
}

int entry_count(std::size_t count) {
  if (count > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    refuse(operation, "too many entries");
  return static_cast<int>(count);
}

amqp_bytes_t long_string(std::string_view text) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max())
    refuse(operation, "a string is above 2^32 - 1 bytes");
  return to_bytes(text);
}

// RabbitMQ cannot read a NaN or an infinity, and closes the connection (541).
void check_finite(double value, std::string_view key) {
  if (std::isfinite(value)) return;
  refuse(operation, std::string("the value of \"").append(key).append("\" is NaN or infinite"));
}

amqp_field_value_t encode_value(const FieldValue& value, Pool& pool, int depth, std::string_view key);

// One overload for each field type. It must set the kind and the union member that belong together.
struct ValueEncoder {
  Pool& pool;
  int depth;
  std::string_view key;  // the key of the entry that contains the value
  amqp_field_value_t& out;

  void kind(int kind) const noexcept { out.kind = static_cast<std::uint8_t>(kind); }

  void operator()(std::monostate) const noexcept { kind(AMQP_FIELD_KIND_VOID); }
  void operator()(bool value) const noexcept {
    kind(AMQP_FIELD_KIND_BOOLEAN), out.value.boolean = value ? 1 : 0;
  }
  void operator()(std::int8_t value) const noexcept { kind(AMQP_FIELD_KIND_I8), out.value.i8 = value; }
  void operator()(std::uint8_t value) const noexcept { kind(AMQP_FIELD_KIND_U8), out.value.u8 = value; }
  void operator()(std::int16_t value) const noexcept { kind(AMQP_FIELD_KIND_I16), out.value.i16 = value; }
  void operator()(std::uint16_t value) const noexcept { kind(AMQP_FIELD_KIND_U16), out.value.u16 = value; }
  void operator()(std::int32_t value) const noexcept { kind(AMQP_FIELD_KIND_I32), out.value.i32 = value; }
  void operator()(std::uint32_t value) const noexcept { kind(AMQP_FIELD_KIND_U32), out.value.u32 = value; }
  void operator()(std::int64_t value) const noexcept { kind(AMQP_FIELD_KIND_I64), out.value.i64 = value; }
  void operator()(float value) const {
    check_finite(value, key);
    kind(AMQP_FIELD_KIND_F32), out.value.f32 = value;
  }
  void operator()(double value) const {
    check_finite(value, key);
    kind(AMQP_FIELD_KIND_F64), out.value.f64 = value;
  }
  void operator()(const Decimal& value) const noexcept {
    kind(AMQP_FIELD_KIND_DECIMAL);
    out.value.decimal.decimals = value.scale;
    out.value.decimal.value = value.value;
  }
  void operator()(const std::string& value) const {
    kind(AMQP_FIELD_KIND_UTF8);
    out.value.bytes = long_string(value);
  }
  void operator()(const Binary& value) const {
    kind(AMQP_FIELD_KIND_BYTES);
    out.value.bytes = long_string(value.bytes);
  }
  void operator()(Timestamp value) const noexcept {
    kind(AMQP_FIELD_KIND_TIMESTAMP);
    out.value.u64 = static_cast<std::uint64_t>(value.time_since_epoch().count());
  }
  void operator()(const FieldArray& value) const {
    check_nesting(depth + 1);
    kind(AMQP_FIELD_KIND_ARRAY);
    auto* entries = pool.allocate<amqp_field_value_t>(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) entries[i] = encode_value(value[i], pool, depth + 1, key);
    out.value.array.num_entries = entry_count(value.size());
    out.value.array.entries = entries;
  }
  void operator()(const FieldTable& value) const {
    kind(AMQP_FIELD_KIND_TABLE);
    out.value.table = encode_entries(value, pool, std::nullopt, depth + 1);
  }
};

amqp_field_value_t encode_value(const FieldValue& value, Pool& pool, int depth, std::string_view key) {
  amqp_field_value_t out{};
  std::visit(ValueEncoder{pool, depth, key, out}, value.variant());
  return out;
}

amqp_table_t encode_entries(const FieldTable& table, Pool& pool, std::optional<std::int64_t> stamp,
                            int depth) {
  check_nesting(depth);
  auto* entries = pool.allocate<amqp_table_entry_t>(table.size() + (stamp ? 1U : 0U));
  std::size_t count = 0;
  for (const FieldEntry& entry : table) {
    if (stamp && entry.key == stamp_key) continue;  // the stamp of a received message that is published again
    check_short_string(entry.key, operation, "a key");
    entries[count].key = to_bytes(entry.key);
    entries[count].value = encode_value(entry.value, pool, depth, entry.key);
    ++count;
  }
  if (stamp) {
    entries[count].key = to_bytes(stamp_key);
    entries[count].value = amqp_field_value_t{};
    entries[count].value.kind = AMQP_FIELD_KIND_I64;
    entries[count].value.value.i64 = *stamp;
    ++count;
  }
  amqp_table_t out{};
  out.num_entries = entry_count(count);
  out.entries = entries;
  return out;
}

void decode_entries(std::string_view bytes, FieldTable& out, int depth);

FieldArray decode_array(std::string_view bytes, int depth) {
  check_depth(depth);
  FieldArray out;
  for (ByteReader reader(bytes); !reader.empty();) out.push_back(decode_value(reader, depth));
  if (out.size() > 64) out.shrink_to_fit();  // frees the spare memory, up to half of the capacity
  return out;
}

void decode_entries(std::string_view bytes, FieldTable& out, int depth) {
  check_depth(depth);
  for (ByteReader reader(bytes); !reader.empty();) {
    std::string key(reader.short_string());
    out.append(std::move(key), decode_value(reader, depth));
  }
}

}  // namespace

FieldValue decode_value(ByteReader& reader, int depth) {
  switch (reader.number<std::uint8_t>()) {
    case 't':
      return reader.number<std::uint8_t>() != 0;
    case 'b':
      return static_cast<std::int8_t>(reader.number<std::uint8_t>());
    case 'B':
      return reader.number<std::uint8_t>();
    case 's':
      return static_cast<std::int16_t>(reader.number<std::uint16_t>());
    case 'u':
      return reader.number<std::uint16_t>();
    case 'I':
      return static_cast<std::int32_t>(reader.number<std::uint32_t>());
    case 'i':
      return reader.number<std::uint32_t>();
    case 'l':
      return static_cast<std::int64_t>(reader.number<std::uint64_t>());
    case 'L': {
      const auto value = reader.number<std::uint64_t>();
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        throw MalformedFrame("an unsigned field is above 2^63 - 1");
      }
      return static_cast<std::int64_t>(value);
    }
    case 'f':
      return std::bit_cast<float>(reader.number<std::uint32_t>());
    case 'd':
      return std::bit_cast<double>(reader.number<std::uint64_t>());
    case 'D': {
      const auto scale = reader.number<std::uint8_t>();
      return Decimal{scale, reader.number<std::uint32_t>()};
    }
    case 'S':
      return std::string(reader.long_string());
    case 'x':
      return Binary{std::string(reader.long_string())};
    case 'T':
      return Timestamp(std::chrono::seconds(static_cast<std::int64_t>(reader.number<std::uint64_t>())));
    case 'A':
      return decode_array(reader.long_string(), depth + 1);
    case 'F': {
      FieldTable table;
      decode_entries(reader.long_string(), table, depth + 1);
      return table;
    }
    case 'V':
      return {};
    default:
      throw MalformedFrame("a field has an unknown type");
  }
}

void check_depth(int depth) {
  if (depth > max_nesting) throw MalformedFrame("tables and arrays are nested deeper than 32 levels");
}

amqp_table_t to_amqp(const FieldTable& table, Pool& pool, std::optional<std::int64_t> stamp) {
  return encode_entries(table, pool, stamp, 1);
}

// Does not use rabbitmq-c's decoder. Before 0.14, it recurses without a bound, so that a publisher's headers
// can overflow the stack of each consumer. It also allocates and copies each table before any value is read.
void decode_table(std::string_view bytes, FieldTable& out) {
  out.clear();
  decode_entries(bytes, out, 1);
}

}  // namespace warren::inline v0::wire
