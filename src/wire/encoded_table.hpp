#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <warren/field_table.hpp>

/// @file
/// Tables in their encoded form. A decoded entry takes up to forty times its bytes on the wire, and any
/// publisher controls the headers. So a delivery's headers are checked on arrival, and decoded only when the
/// program reads them. The functions here read single values for warren itself, without decoding.
namespace warren::inline v0 {

/// The bytes from which a table is decoded. They do not change while the table is const, so many threads may
/// read them. The first thread that needs the entries decodes them, and the others wait for it.
struct FieldTable::Encoded {
  enum class State : std::uint8_t {
    unused,    ///< the table is not encoded; `bytes` is kept for the next one
    encoded,   ///< the entries are not decoded yet
    decoding,  ///< a thread is decoding the entries
    decoded
  };
  Encoded() = default;
  Encoded(std::string from, State now) : bytes(std::move(from)), state(now) {}

  std::string bytes{};  ///< checked, and without the four bytes of length
  std::atomic<State> state{State::unused};
};

namespace wire {

/// The header with the publisher's own number, which identifies a returned message.
inline constexpr std::string_view stamp_key = "warren-stamp";

/// Operations on tables for warren's own code only.
class TableAccess {
 public:
  /// Replaces `table` by an encoded one. The bytes are checked, but decoded only when the entries are read.
  /// Allocates only if the previous table had less memory.
  /// @param stamp  the value of stamp_key if it is an integer; the table then leaves it out
  /// @throws MalformedFrame  for the reasons that decode_table() has; the table is then unchanged
  static void assign(FieldTable& table, std::string_view bytes, std::optional<std::int64_t>& stamp);
  /// The bytes of a table that arrived encoded, even if it was decoded since.
  [[nodiscard]] static std::optional<std::string_view> encoded(const FieldTable& table) noexcept;
  /// Whether the table has more memory than is worth keeping for the next message.
  [[nodiscard]] static bool is_large(const FieldTable& table) noexcept;
};

/// Whether the key exists. Nothing is decoded or allocated.
[[nodiscard]] bool has_field(std::string_view encoded, std::string_view key) noexcept;
/// The number of entries. Nothing is decoded or allocated.
[[nodiscard]] std::size_t count_fields(std::string_view encoded) noexcept;
/// The value of a key, unless it is a string, a byte array, an array or a table. Nothing is allocated.
[[nodiscard]] std::optional<FieldValue> find_scalar(std::string_view encoded, std::string_view key) noexcept;
/// The integer value of a key, as find(key)->as_integer(). Nothing is decoded or allocated.
[[nodiscard]] std::optional<std::int64_t> integer_of(const FieldTable& table, std::string_view key) noexcept;
/// Calls `read` with the value of a key that is a boolean, a number, a timestamp or void. Nothing is
/// allocated.
template <typename Read>
[[nodiscard]] auto scalar_of(const FieldTable& table, std::string_view key, Read&& read) noexcept
    -> decltype(read(std::declval<const FieldValue&>())) {
  if (const auto encoded = TableAccess::encoded(table)) {
    const std::optional<FieldValue> value = find_scalar(*encoded, key);
    return value ? read(*value) : std::nullopt;
  }
  const FieldValue* value = table.find(key);
  return value == nullptr ? std::nullopt : read(*value);
}
/// The string value of a key, as find(key)->as_string(). Nothing is decoded or allocated.
[[nodiscard]] std::optional<std::string_view> string_of(const FieldTable& table,
                                                        std::string_view key) noexcept;

}  // namespace wire
}  // namespace warren::inline v0
