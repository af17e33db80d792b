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
/// Tables as they came. A decoded entry takes up to forty times its bytes on the wire, and any publisher
/// chooses the headers, so those of a delivery are checked when they arrive, and decoded only when somebody
/// looks at them. What warren itself wants to know of them it reads here, without decoding.
namespace warren::inline v0 {

/// The bytes that a table is decoded from. They don't change while the table is const, so that many threads
/// may read them; the first of those that want the entries decodes them, and the others wait for that.
struct FieldTable::Encoded {
  enum class State : std::uint8_t {
    unused,    ///< the table is not encoded; `bytes` is kept for the next one
    encoded,   ///< nobody has looked at the entries
    decoding,  ///< a thread does
    decoded
  };
  Encoded() = default;
  Encoded(std::string from, State now) : bytes(std::move(from)), state(now) {}

  std::string bytes{};  ///< checked: without the four bytes of length
  std::atomic<State> state{State::unused};
};

namespace wire {

/// Header with the publisher's own number, by which a returned message is recognised.
inline constexpr std::string_view stamp_key = "warren-stamp";

/// What warren does with tables that nobody else may do.
class TableAccess {
 public:
  /// Replaces `table` by an encoded one, which is checked and stays encoded until somebody looks.
  /// Allocates only if the bytes of the table before had less room.
  /// @param stamp  what stamp_key holds, if that is an integer; it is then left out of the table
  /// @throws MalformedFrame  as decode_table() would; the table is then as before
  static void assign(FieldTable& table, std::string_view bytes, std::optional<std::int64_t>& stamp);
  /// The bytes of a table that is encoded, or was when it came.
  [[nodiscard]] static std::optional<std::string_view> encoded(const FieldTable& table) noexcept;
  /// Whether it has more memory than is worth keeping for the next message.
  [[nodiscard]] static bool is_large(const FieldTable& table) noexcept;
};

/// Whether there is such a key. Nothing is decoded or allocated.
[[nodiscard]] bool has_field(std::string_view encoded, std::string_view key) noexcept;
/// The number of entries. Nothing is decoded or allocated.
[[nodiscard]] std::size_t count_fields(std::string_view encoded) noexcept;
/// The value of a key, unless it is a string, a byte array, an array or a table. Nothing is allocated.
[[nodiscard]] std::optional<FieldValue> find_scalar(std::string_view encoded, std::string_view key) noexcept;
/// As find(key)->as_integer(). Nothing is decoded or allocated.
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
/// As find(key)->as_string(). Nothing is decoded or allocated.
[[nodiscard]] std::optional<std::string_view> string_of(const FieldTable& table,
                                                        std::string_view key) noexcept;

}  // namespace wire
}  // namespace warren::inline v0
