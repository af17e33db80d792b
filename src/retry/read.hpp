#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>

#include "retry/headers.hpp"
#include "wire/encoded_table.hpp"

/// @file
/// Functions that read headers which any publisher may have written. A header with a wrong type or value
/// counts as missing.
namespace warren::inline v0::retry {

/// The count or time in a header, if it is of an integer type and not negative.
[[nodiscard]] inline std::optional<std::int64_t> read_count(const FieldTable& headers,
                                                            std::string_view key) noexcept {
  const std::optional<std::int64_t> count = wire::integer_of(headers, key);
  return count && *count >= 0 ? count : std::nullopt;
}

/// The sum of two counts, at most the largest std::int64_t.
[[nodiscard]] inline std::int64_t add(std::int64_t count, std::int64_t more) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  return count > most - more ? most : count + more;
}

/// The time that is so many milliseconds after 1970, or nothing if the clock can't represent it.
[[nodiscard]] inline std::optional<std::chrono::system_clock::time_point> to_moment(
    std::int64_t milliseconds) noexcept {
  using Moment = std::chrono::system_clock::time_point;
  constexpr std::int64_t latest =
      std::chrono::floor<std::chrono::milliseconds>(Moment::max().time_since_epoch()).count();
  if (milliseconds < 0 || milliseconds > latest) return std::nullopt;
  return Moment(std::chrono::milliseconds(milliseconds));
}

/// The time in a header, if it is a valid number of milliseconds since 1970.
[[nodiscard]] inline std::optional<std::chrono::system_clock::time_point> read_moment(
    const FieldTable& headers, std::string_view key) noexcept {
  const std::optional<std::int64_t> milliseconds = read_count(headers, key);
  return milliseconds ? to_moment(*milliseconds) : std::nullopt;
}

/// How much of its delay a copy has left when it comes out of a wait queue.
///
/// The broker and the header count whole milliseconds, so a copy may be up to two milliseconds early. A
/// larger difference comes from another machine's clock. The result is 0 then, because waiting would not
/// help.
[[nodiscard]] inline std::chrono::system_clock::duration left_of_delay(
    const FieldTable& headers, std::chrono::system_clock::time_point now) noexcept {
  using namespace std::chrono_literals;
  const auto due = read_moment(headers, header::due_at);
  if (!due || *due <= now - 1ms || *due > now + 1ms) return {};
  return *due + 1ms - now;  // the header's time is rounded down
}

/// The text in a header, if it has at most `longest` bytes (by default those of an AMQP short string).
[[nodiscard]] inline std::optional<std::string> read_text(const FieldTable& headers, std::string_view key,
                                                          std::size_t longest = header::longest_text) {
  const std::optional<std::string_view> text = wire::string_of(headers, key);
  if (!text || text->size() > longest) return std::nullopt;
  return std::string(*text);
}

/// The text in a header, if it fits an AMQP short string and is not empty.
[[nodiscard]] inline std::optional<std::string> read_name(const FieldTable& headers, std::string_view key) {
  std::optional<std::string> name = read_text(headers, key);
  return name && !name->empty() ? name : std::nullopt;
}

/// The strings of an array. Other values are left out, as RabbitMQ does for CC.
[[nodiscard]] inline std::optional<FieldArray> read_texts(const FieldTable& headers, std::string_view key) {
  const FieldValue* value = headers.find(key);
  const auto* array = value == nullptr ? nullptr : value->get_if<FieldArray>();
  if (array == nullptr) return std::nullopt;
  FieldArray texts;
  for (const FieldValue& entry : *array) {
    if (entry.get_if<std::string>() != nullptr) texts.push_back(entry);
  }
  return texts.empty() ? std::nullopt : std::optional(std::move(texts));
}

}  // namespace warren::inline v0::retry
