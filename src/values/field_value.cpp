#include <cmath>
#include <limits>

#include <warren/error.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

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

std::optional<double> FieldValue::as_number() const noexcept {
  if (const auto* number = get_if<double>()) return *number;
  if (const auto* number = get_if<float>()) return static_cast<double>(*number);
  if (const auto* decimal = get_if<Decimal>())
    return static_cast<double>(decimal->value) / std::pow(10.0, static_cast<double>(decimal->scale));
  const std::optional<std::int64_t> integer = as_integer();
  return integer ? std::optional(static_cast<double>(*integer)) : std::nullopt;
}

std::optional<std::string_view> FieldValue::as_string() const noexcept {
  if (const auto* text = get_if<std::string>()) return *text;
  if (const auto* binary = get_if<Binary>()) return binary->bytes;
  return std::nullopt;
}

}  // namespace warren::inline v0
