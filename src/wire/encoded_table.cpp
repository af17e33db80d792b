#include "wire/encoded_table.hpp"

#include <array>
#include <memory>

#include "wire/byte_reader.hpp"
#include "wire/table_codec.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr std::size_t kept_bytes = 4'096;
constexpr std::size_t kept_entries = 64;

void check_entries(std::string_view bytes, int depth);
void check_array(std::string_view bytes, int depth);

constexpr std::int8_t unknown = -1;
constexpr std::int8_t with_length = -2;  // four bytes of length, then that many bytes

// The size of a value in bytes, by its field type.
constexpr std::array<std::int8_t, 256> sizes = [] {
  std::array<std::int8_t, 256> all{};
  all.fill(unknown);
  const auto set = [&](std::string_view types, std::int8_t size) {
    for (const char type : types) all[static_cast<unsigned char>(type)] = size;
  };
  set("V", 0);
  set("tbB", 1);
  set("su", 2);
  set("Iif", 4);
  set("D", 5);
  set("lLdT", 8);
  set("SxAF", with_length);
  return all;
}();

// Throws the errors of decode_value() in table_codec.cpp, and accepts the types that it accepts.
void check_value(ByteReader& reader, int depth) {
  const auto type = reader.number<std::uint8_t>();
  const std::int8_t size = sizes[type];
  if (size >= 0) {
    const std::string_view value = reader.take(static_cast<std::size_t>(size));
    if (type == 'L' && (static_cast<unsigned char>(value[0]) & 0x80U) != 0)
      throw MalformedFrame("an unsigned field is above 2^63 - 1");
    return;
  }
  if (size == unknown) throw MalformedFrame("a field has an unknown type");
  const std::string_view value = reader.long_string();
  if (type == 'A') check_array(value, depth + 1);
  if (type == 'F') check_entries(value, depth + 1);
}

void check_array(std::string_view bytes, int depth) {
  check_depth(depth);
  for (ByteReader reader(bytes); !reader.empty();) check_value(reader, depth);
}

void check_entries(std::string_view bytes, int depth) {
  check_depth(depth);
  for (ByteReader reader(bytes); !reader.empty();) {
    reader.short_string();
    check_value(reader, depth);
  }
}

// An entry of a checked table.
struct Field {
  std::string_view key{};
  char type = 'V';
  std::string_view encoded{};  // the encoded value, from its type on
  std::string_view value{};    // the value; a string, an array or a table comes without its length
};

Field next_field(ByteReader& reader) {
  Field field;
  field.key = reader.short_string();
  const std::string_view rest = reader.rest();
  field.type = static_cast<char>(reader.number<std::uint8_t>());
  const std::int8_t size = sizes[static_cast<unsigned char>(field.type)];
  field.value = size >= 0 ? reader.take(static_cast<std::size_t>(size)) : reader.long_string();
  field.encoded = rest.substr(0, rest.size() - reader.rest().size());
  return field;
}

std::optional<Field> find_field(std::string_view encoded, std::string_view key) {
  for (ByteReader reader(encoded); !reader.empty();) {
    const Field field = next_field(reader);
    if (field.key == key) return field;
  }
  return std::nullopt;
}

std::optional<FieldValue> to_scalar(const Field& field) {
  if (sizes[static_cast<unsigned char>(field.type)] < 0) return std::nullopt;  // decoding it would allocate
  ByteReader reader(field.encoded);
  return decode_value(reader, 1);
}

std::optional<std::int64_t> to_integer(const Field& field) {
  const std::optional<FieldValue> value = to_scalar(field);
  return value ? value->as_integer() : std::nullopt;
}

}  // namespace

bool has_field(std::string_view encoded, std::string_view key) noexcept {
  return find_field(encoded, key).has_value();
}

std::size_t count_fields(std::string_view encoded) noexcept {
  std::size_t count = 0;
  for (ByteReader reader(encoded); !reader.empty(); ++count) (void)next_field(reader);
  return count;
}

std::optional<FieldValue> find_scalar(std::string_view encoded, std::string_view key) noexcept {
  const std::optional<Field> field = find_field(encoded, key);
  return field ? to_scalar(*field) : std::nullopt;
}

std::optional<std::int64_t> integer_of(const FieldTable& table, std::string_view key) noexcept {
  return scalar_of(table, key, [](const FieldValue& value) { return value.as_integer(); });
}

std::optional<std::string_view> string_of(const FieldTable& table, std::string_view key) noexcept {
  if (const auto encoded = TableAccess::encoded(table)) {
    const std::optional<Field> field = find_field(*encoded, key);
    return field && (field->type == 'S' || field->type == 'x') ? std::optional(field->value) : std::nullopt;
  }
  const FieldValue* value = table.find(key);
  return value == nullptr ? std::nullopt : value->as_string();
}

std::optional<std::string_view> TableAccess::encoded(const FieldTable& table) noexcept {
  if (!table.is_encoded()) return std::nullopt;
  return table.encoded_->bytes;
}

bool TableAccess::is_large(const FieldTable& table) noexcept {
  return table.entries_.capacity() > kept_entries ||
         (table.encoded_ != nullptr && table.encoded_->bytes.capacity() > kept_bytes);
}

void TableAccess::assign(FieldTable& table, std::string_view bytes, std::optional<std::int64_t>& stamp) {
  stamp.reset();
  // The entries before the first stamp, and those after it, which are usually none.
  std::string_view before = bytes;
  std::string_view behind;
  check_depth(1);
  bool stamped = false;
  for (ByteReader reader(bytes); !reader.empty();) {
    const std::string_view rest = reader.rest();
    const bool is_stamp = reader.short_string() == stamp_key;
    check_value(reader, 1);
    if (!is_stamp || stamped) continue;
    stamped = true;
    ByteReader entry(rest);
    stamp = to_integer(next_field(entry));
    if (!stamp) continue;  // another program's header of this name
    before = bytes.substr(0, bytes.size() - rest.size());
    behind = reader.rest();
  }

  using Encoded = FieldTable::Encoded;
  if (table.encoded_ == nullptr) table.encoded_ = std::make_unique<Encoded>();
  std::string& kept = table.encoded_->bytes;
  if (kept.capacity() < before.size() + behind.size()) {  // reserves the exact size: assign() would double it
    std::string larger;
    larger.reserve(before.size() + behind.size());
    kept.swap(larger);
  }
  kept.assign(before);
  for (ByteReader reader(behind); !reader.empty();) {
    const std::string_view rest = reader.rest();
    if (next_field(reader).key == stamp_key) continue;
    kept.append(rest.substr(0, rest.size() - reader.rest().size()));
  }
  table.entries_.clear();
  table.encoded_->state.store(kept.empty() ? Encoded::State::unused : Encoded::State::encoded,
                              std::memory_order_relaxed);
}

}  // namespace warren::inline v0::wire
