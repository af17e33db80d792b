#include <warren/field_table.hpp>

#include <algorithm>
#include <limits>

#include <warren/error.hpp>

namespace warren::inline v0 {

FieldTable::FieldTable() noexcept = default;
FieldTable::FieldTable(std::initializer_list<FieldEntry> entries) {
  for (const FieldEntry& entry : entries) set(entry.key, entry.value);
}
FieldTable::FieldTable(const FieldTable&) = default;
FieldTable::FieldTable(FieldTable&&) noexcept = default;
FieldTable& FieldTable::operator=(const FieldTable&) = default;
FieldTable& FieldTable::operator=(FieldTable&&) noexcept = default;
FieldTable::~FieldTable() = default;

void FieldTable::set(std::string_view key, FieldValue value) {
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const FieldEntry& e) { return e.key == key; });
  if (entry != entries_.end()) {
    entry->value = std::move(value);
  } else {
    append(std::string(key), std::move(value));
  }
}

void FieldTable::append(std::string key, FieldValue value) {
  entries_.push_back({std::move(key), std::move(value)});
}

const FieldValue* FieldTable::find(std::string_view key) const noexcept {
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const FieldEntry& e) { return e.key == key; });
  return entry == entries_.end() ? nullptr : &entry->value;
}

bool FieldTable::erase(std::string_view key) {
  return std::erase_if(entries_, [&](const FieldEntry& e) { return e.key == key; }) != 0;
}

void FieldTable::clear() noexcept { entries_.clear(); }
bool FieldTable::empty() const noexcept { return entries_.empty(); }
std::size_t FieldTable::size() const noexcept { return entries_.size(); }
const FieldEntry* FieldTable::begin() const noexcept { return entries_.data(); }
const FieldEntry* FieldTable::end() const noexcept { return entries_.data() + entries_.size(); }

bool operator==(const FieldTable& a, const FieldTable& b) { return a.entries_ == b.entries_; }
bool operator==(const FieldValue& a, const FieldValue& b) { return a.value_ == b.value_; }

std::int64_t FieldValue::checked_unsigned(std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    throw InvalidArgument({.operation = "field value",
                           .text = "RabbitMQ reads no unsigned 64-bit integer: the largest value is 2^63 - 1",
                           .permanent = true});
  }
  return static_cast<std::int64_t>(value);
}

std::optional<std::int64_t> FieldValue::as_integer() const noexcept {
  return std::visit(
      [](const auto& value) -> std::optional<std::int64_t> {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<std::int64_t>(value);
        } else {
          return std::nullopt;
        }
      },
      value_);
}

std::optional<std::string_view> FieldValue::as_string() const noexcept {
  if (const auto* text = get_if<std::string>()) return *text;
  if (const auto* binary = get_if<Binary>()) return binary->bytes;
  return std::nullopt;
}

}  // namespace warren::inline v0
