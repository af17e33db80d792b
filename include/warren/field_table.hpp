#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <warren/export.hpp>

namespace warren::inline v0 {

class FieldValue;
struct FieldEntry;

namespace wire {
class TableAccess;
}

/// AMQP's decimal (field type `D`): value / 10^scale.
struct Decimal {
  std::uint8_t scale = 0;   ///< the number of digits after the decimal point
  std::uint32_t value = 0;  ///< the digits without the point
  friend bool operator==(const Decimal&, const Decimal&) = default;
};

/// A byte array (RabbitMQ's field type `x`), as distinct from a string (`S`).
struct Binary {
  std::string bytes{};  ///< any bytes
  friend bool operator==(const Binary&, const Binary&) = default;
};

/// AMQP's timestamp (field type `T`): whole seconds.
using Timestamp = std::chrono::sys_seconds;

/// AMQP's array (field type `A`).
using FieldArray = std::vector<FieldValue>;

/// An AMQP field table (`F`), for the headers of a message, the arguments of a declaration and client
/// properties.
///
/// A table keeps the order of its entries. Keys are at most 255 bytes, and tables are nested at most 32
/// levels deep; sending a table that exceeds a limit throws InvalidArgument. A look-up is linear, because
/// tables are small.
///
/// The headers of a delivery stay encoded until the program looks at an entry: with begin(), end(), find() of
/// a key that exists, a comparison, or a change. Until then they take as much memory as on the wire. Decoded
/// headers take more: 40 bytes for each value of an array and 72 bytes for each entry of a table, plus long
/// strings. A value that a publisher sends as one byte can thus take 40 bytes. The headers are checked when
/// they arrive, so decoding them fails only if there is no memory.
///
/// Several threads may read one table at the same time, even if it is still encoded. A change needs exclusive
/// access, as with any container.
class WARREN_EXPORT FieldTable {
 public:
  FieldTable() noexcept;  ///< an empty table
  /// A table with these entries, in this order. If a key occurs more than once, the last value is used, at
  /// the place of the first.
  FieldTable(std::initializer_list<FieldEntry> entries);
  FieldTable(const FieldTable&);                 ///< copies the entries
  FieldTable(FieldTable&&) noexcept;             ///< takes over the entries; the other table is then empty
  FieldTable& operator=(const FieldTable&);      ///< copies the entries
  FieldTable& operator=(FieldTable&&) noexcept;  ///< takes over the entries; the other table is then empty
  ~FieldTable();

  /// Sets the value of a key. Replaces the value that the key had.
  void set(std::string_view key, FieldValue value);
  /// Adds an entry at the end, without checking whether the key already exists.
  void append(std::string key, FieldValue value);
  /// The value of a key, or nullptr if there is none. Valid until the table changes.
  /// @throws std::bad_alloc  there is no memory to decode the table
  [[nodiscard]] const FieldValue* find(std::string_view key) const;
  /// The value of a key if it has an integer type, otherwise `nullopt`. Decodes no other entry and allocates
  /// nothing.
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const noexcept;
  /// The bytes of a key's value if it is a string or a byte array, otherwise `nullopt`. They are valid until
  /// the table changes. Decodes nothing and allocates nothing.
  [[nodiscard]] std::optional<std::string_view> string(std::string_view key) const noexcept;
  /// The value of a key if it is a boolean, otherwise `nullopt`. Decodes no other entry and allocates
  /// nothing.
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const noexcept;
  /// The value of a key if it is a float, a double, a decimal or an integer, otherwise `nullopt`. An integer
  /// above 2^53 is rounded. Decodes no other entry and allocates nothing.
  [[nodiscard]] std::optional<double> number(std::string_view key) const noexcept;
  /// The value of a key if it is a timestamp (field type `T`), otherwise `nullopt`. Decodes no other entry
  /// and allocates nothing.
  [[nodiscard]] std::optional<Timestamp> timestamp(std::string_view key) const noexcept;
  /// Whether the table has this key. Decodes nothing.
  [[nodiscard]] bool contains(std::string_view key) const noexcept;
  /// Removes a key. Returns false if the table does not have it.
  bool erase(std::string_view key);
  void clear() noexcept;  ///< removes all entries

  [[nodiscard]] bool empty() const noexcept;        ///< whether there are no entries; decodes nothing
  [[nodiscard]] std::size_t size() const noexcept;  ///< the number of entries; decodes nothing
  /// The first entry.
  /// @throws std::bad_alloc  there is no memory to decode the table
  [[nodiscard]] const FieldEntry* begin() const;
  /// The place after the last entry.
  /// @throws std::bad_alloc  there is no memory to decode the table
  [[nodiscard]] const FieldEntry* end() const;

  /// Whether both tables have the same keys with equal values of the same field types, in the same order.
  friend WARREN_EXPORT bool operator==(const FieldTable&, const FieldTable&);

 private:
  friend class wire::TableAccess;
  struct Encoded;
  [[nodiscard]] bool is_encoded() const noexcept;
  [[nodiscard]] bool is_decoded() const noexcept;
  [[nodiscard]] const std::vector<FieldEntry>& entries() const;
  [[nodiscard]] std::vector<FieldEntry>& own_entries();

  mutable std::vector<FieldEntry> entries_;  // if encoded_ is set: filled when an entry is first looked at
  std::unique_ptr<Encoded> encoded_;         // the headers of a delivery; otherwise null
};

/// A value in a field table. It can have every AMQP 0-9-1 field type that RabbitMQ reads
/// (https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
class WARREN_EXPORT FieldValue {
 public:
  /// One alternative for each field type. `std::string` is `S`, and `std::monostate` is void.
  using Variant = std::variant<std::monostate, bool, std::int8_t, std::uint8_t, std::int16_t, std::uint16_t,
                               std::int32_t, std::uint32_t, std::int64_t, float, double, Decimal, std::string,
                               Binary, Timestamp, FieldArray, FieldTable>;

  /// AMQP's void (field type `V`).
  FieldValue() noexcept = default;
  FieldValue(bool value) noexcept : value_(value) {}  ///< field type `t`
  /// The integer field type with the width and sign of `T`. An unsigned 64-bit value is sent as a signed one,
  /// because RabbitMQ reads no unsigned 64-bit type.
  /// @throws InvalidArgument  the value is above 2^63 - 1
  template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t>) FieldValue(T value)
      : value_(from_integer(value)) {}
  FieldValue(float value) noexcept : value_(value) {}    ///< field type `f`
  FieldValue(double value) noexcept : value_(value) {}   ///< field type `d`
  FieldValue(Decimal value) noexcept : value_(value) {}  ///< field type `D`
  /// A long string (field type `S`), by convention UTF-8. The frame limits its length.
  FieldValue(std::string value) noexcept : value_(std::move(value)) {}
  FieldValue(std::string_view value) : value_(std::string(value)) {}  ///< field type `S`
  /// A long string (field type `S`) with the text up to its first zero byte.
  FieldValue(const char* value) : value_(std::string(value)) {}
  FieldValue(Binary value) noexcept : value_(std::move(value)) {}      ///< field type `x`
  FieldValue(Timestamp value) noexcept : value_(value) {}              ///< field type `T`
  FieldValue(FieldArray value) noexcept : value_(std::move(value)) {}  ///< field type `A`
  FieldValue(FieldTable value) noexcept : value_(std::move(value)) {}  ///< field type `F`

  /// The value with its type.
  [[nodiscard]] const Variant& variant() const noexcept { return value_; }
  /// Whether the value is AMQP's void.
  [[nodiscard]] bool is_void() const noexcept { return std::holds_alternative<std::monostate>(value_); }

  /// The value if its type is exactly `T`, otherwise nullptr.
  template <typename T>
  [[nodiscard]] const T* get_if() const noexcept {
    return std::get_if<T>(&value_);
  }
  /// The value if it has an integer type, otherwise `nullopt`.
  [[nodiscard]] std::optional<std::int64_t> as_integer() const noexcept;
  /// The value if it is a float, a double, a decimal or an integer, otherwise `nullopt`. An integer above
  /// 2^53 is rounded.
  [[nodiscard]] std::optional<double> as_number() const noexcept;
  /// The bytes of the value if it is a string or a byte array, otherwise `nullopt`.
  [[nodiscard]] std::optional<std::string_view> as_string() const noexcept;

  /// Whether both values have the same field type and are equal.
  friend WARREN_EXPORT bool operator==(const FieldValue&, const FieldValue&);

 private:
  template <typename T>
  static Variant from_integer(T value) {
    if constexpr (sizeof(T) == 8) {
      if constexpr (std::is_unsigned_v<T>) return checked_unsigned(static_cast<std::uint64_t>(value));
      return static_cast<std::int64_t>(value);
    } else if constexpr (sizeof(T) == 4) {
      return static_cast<std::conditional_t<std::is_signed_v<T>, std::int32_t, std::uint32_t>>(value);
    } else if constexpr (sizeof(T) == 2) {
      return static_cast<std::conditional_t<std::is_signed_v<T>, std::int16_t, std::uint16_t>>(value);
    } else {
      return static_cast<std::conditional_t<std::is_signed_v<T>, std::int8_t, std::uint8_t>>(value);
    }
  }
  static std::int64_t checked_unsigned(std::uint64_t value);

  Variant value_;
};

/// One entry of a FieldTable.
struct FieldEntry {
  std::string key{};   ///< at most 255 bytes
  FieldValue value{};  ///< of any field type
  friend bool operator==(const FieldEntry&, const FieldEntry&) = default;
};

}  // namespace warren::inline v0
