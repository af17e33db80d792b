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
  std::uint8_t scale = 0;   ///< digits behind the point
  std::uint32_t value = 0;  ///< without the point
  friend bool operator==(const Decimal&, const Decimal&) = default;
};

/// A byte array (RabbitMQ's field type `x`), told apart from a string (`S`).
struct Binary {
  std::string bytes{};  ///< any bytes
  friend bool operator==(const Binary&, const Binary&) = default;
};

/// AMQP's timestamp (field type `T`): whole seconds.
using Timestamp = std::chrono::sys_seconds;

/// AMQP's array (field type `A`).
using FieldArray = std::vector<FieldValue>;

/// An AMQP field table (`F`): headers of a message, arguments of a declaration, client properties.
///
/// Keeps the order of its entries. Keys are at most 255 bytes; what is longer, or nested deeper than 32
/// levels, is refused with InvalidArgument when it is sent. Look-up is linear: tables are small.
///
/// The headers of a delivery stay encoded until the program looks at an entry: by begin(), end(), find() of a
/// key that is there, a comparison, or a change. Until then they take as much memory as they took on the
/// wire. Decoded they take more: 40 bytes for each value in an array and 72 for each entry of a table, beside
/// long strings, and a publisher can send values of one byte. The headers were checked when they arrived, so
/// decoding them can only fail for lack of memory.
///
/// Many threads may read one table at the same time, even if it is still encoded. A change needs exclusive
/// access, as with any container.
class WARREN_EXPORT FieldTable {
 public:
  FieldTable() noexcept;  ///< empty
  /// These entries, in this order; of equal keys the last value, in the first one's place.
  FieldTable(std::initializer_list<FieldEntry> entries);
  FieldTable(const FieldTable&);                 ///< a copy
  FieldTable(FieldTable&&) noexcept;             ///< the other is left empty
  FieldTable& operator=(const FieldTable&);      ///< a copy
  FieldTable& operator=(FieldTable&&) noexcept;  ///< the other is left empty
  ~FieldTable();

  /// Sets a key, replacing the value that it had.
  void set(std::string_view key, FieldValue value);
  /// Adds an entry at the end without looking for the key.
  void append(std::string key, FieldValue value);
  /// The value of a key, or nullptr. Valid until the table changes.
  /// @throws std::bad_alloc  no memory for what is decoded at the first look
  [[nodiscard]] const FieldValue* find(std::string_view key) const;
  /// The value of a key if it is of an integer type, else `nullopt`. Decodes no other entry, allocates
  /// nothing.
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const noexcept;
  /// The bytes of a key's value if it is a string or a byte array, else `nullopt`. They are valid until the
  /// table changes. Decodes nothing, allocates nothing.
  [[nodiscard]] std::optional<std::string_view> string(std::string_view key) const noexcept;
  /// The value of a key if it is a boolean, else `nullopt`. Decodes no other entry, allocates nothing.
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const noexcept;
  /// The value of a key if it is a number: a float, a double, a decimal or an integer; else `nullopt`. An
  /// integer above 2^53 is rounded. Decodes no other entry, allocates nothing.
  [[nodiscard]] std::optional<double> number(std::string_view key) const noexcept;
  /// The value of a key if it is a timestamp (field type `T`), else `nullopt`. Decodes no other entry,
  /// allocates nothing.
  [[nodiscard]] std::optional<Timestamp> timestamp(std::string_view key) const noexcept;
  /// Whether there is such a key. Decodes nothing.
  [[nodiscard]] bool contains(std::string_view key) const noexcept;
  /// Removes a key; false where there was none.
  bool erase(std::string_view key);
  void clear() noexcept;  ///< removes all

  [[nodiscard]] bool empty() const noexcept;        ///< has no entry; decodes nothing
  [[nodiscard]] std::size_t size() const noexcept;  ///< entries; decodes nothing
  /// The first entry.
  /// @throws std::bad_alloc  no memory for what is decoded at the first look
  [[nodiscard]] const FieldEntry* begin() const;
  /// Past the last entry.
  /// @throws std::bad_alloc  no memory for what is decoded at the first look
  [[nodiscard]] const FieldEntry* end() const;

  /// Same keys with equal values of the same field types, in the same order.
  friend WARREN_EXPORT bool operator==(const FieldTable&, const FieldTable&);

 private:
  friend class wire::TableAccess;
  struct Encoded;
  [[nodiscard]] bool is_encoded() const noexcept;
  [[nodiscard]] bool is_decoded() const noexcept;
  [[nodiscard]] const std::vector<FieldEntry>& entries() const;
  [[nodiscard]] std::vector<FieldEntry>& own_entries();

  mutable std::vector<FieldEntry> entries_;  // of a table that is encoded: once somebody has looked
  std::unique_ptr<Encoded> encoded_;         // of a delivery's headers, else null
};

/// A value of a field table: every AMQP 0-9-1 field type that RabbitMQ reads
/// (https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
class WARREN_EXPORT FieldValue {
 public:
  /// One alternative for each field type; `std::string` is `S`, `std::monostate` void.
  using Variant = std::variant<std::monostate, bool, std::int8_t, std::uint8_t, std::int16_t, std::uint16_t,
                               std::int32_t, std::uint32_t, std::int64_t, float, double, Decimal, std::string,
                               Binary, Timestamp, FieldArray, FieldTable>;

  /// AMQP's void (`V`).
  FieldValue() noexcept = default;
  FieldValue(bool value) noexcept : value_(value) {}  ///< `t`
  /// The integer type of the same width and sign. RabbitMQ reads no unsigned 64-bit type: such a value is
  /// sent as a signed one.
  /// @throws InvalidArgument where it is above 2^63 - 1
  template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t>) FieldValue(T value)
      : value_(from_integer(value)) {}
  FieldValue(float value) noexcept : value_(value) {}    ///< `f`
  FieldValue(double value) noexcept : value_(value) {}   ///< `d`
  FieldValue(Decimal value) noexcept : value_(value) {}  ///< `D`
  /// A long string (`S`): UTF-8 by convention, up to what a frame holds.
  FieldValue(std::string value) noexcept : value_(std::move(value)) {}
  FieldValue(std::string_view value) : value_(std::string(value)) {}   ///< `S`
  FieldValue(const char* value) : value_(std::string(value)) {}        ///< `S`, up to its 0
  FieldValue(Binary value) noexcept : value_(std::move(value)) {}      ///< `x`
  FieldValue(Timestamp value) noexcept : value_(value) {}              ///< `T`
  FieldValue(FieldArray value) noexcept : value_(std::move(value)) {}  ///< `A`
  FieldValue(FieldTable value) noexcept : value_(std::move(value)) {}  ///< `F`

  /// The value with its type.
  [[nodiscard]] const Variant& variant() const noexcept { return value_; }
  /// Whether it is AMQP's void.
  [[nodiscard]] bool is_void() const noexcept { return std::holds_alternative<std::monostate>(value_); }

  /// The value where it is of this very type, else nullptr.
  template <typename T>
  [[nodiscard]] const T* get_if() const noexcept {
    return std::get_if<T>(&value_);
  }
  /// The value of any of the integer types.
  [[nodiscard]] std::optional<std::int64_t> as_integer() const noexcept;
  /// The value if it is a float, a double, a decimal or an integer. An integer above 2^53 is rounded.
  [[nodiscard]] std::optional<double> as_number() const noexcept;
  /// The bytes of a string or a byte array.
  [[nodiscard]] std::optional<std::string_view> as_string() const noexcept;

  /// The same field type with an equal value.
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
