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
/// Reading headers that anybody may have written: what is not as it should be is not there.
namespace warren::inline v0::retry {

/// A count or a moment that is of an integer type and not negative; nothing else counts as one.
[[nodiscard]] inline std::optional<std::int64_t> read_count(const FieldTable& headers,
                                                            std::string_view key) noexcept {
  const std::optional<std::int64_t> count = wire::integer_of(headers, key);
  return count && *count >= 0 ? count : std::nullopt;
}

/// A count and so many more, or as many as there can be.
[[nodiscard]] inline std::int64_t add(std::int64_t count, std::int64_t more) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  return count > most - more ? most : count + more;
}

/// So many milliseconds since 1970; nothing where the clock can't hold them.
[[nodiscard]] inline std::optional<std::chrono::system_clock::time_point> to_moment(
    std::int64_t milliseconds) noexcept {
  using Moment = std::chrono::system_clock::time_point;
  constexpr std::int64_t latest =
      std::chrono::floor<std::chrono::milliseconds>(Moment::max().time_since_epoch()).count();
  if (milliseconds < 0 || milliseconds > latest) return std::nullopt;
  return Moment(std::chrono::milliseconds(milliseconds));
}

[[nodiscard]] inline std::optional<std::chrono::system_clock::time_point> read_moment(
    const FieldTable& headers, std::string_view key) noexcept {
  const std::optional<std::int64_t> milliseconds = read_count(headers, key);
  return milliseconds ? to_moment(*milliseconds) : std::nullopt;
}

/// What a copy that comes out of a wait queue lacks of its delay. The broker counts whole milliseconds, and
/// so does the header: together up to two. More than that is another machine's clock, and nothing to wait
/// for.
[[nodiscard]] inline std::chrono::system_clock::duration left_of_delay(
    const FieldTable& headers, std::chrono::system_clock::time_point now) noexcept {
  using namespace std::chrono_literals;
  const auto due = read_moment(headers, header::due_at);
  if (!due || *due <= now - 1ms || *due > now + 1ms) return {};
  return *due + 1ms - now;  // the header's moment is rounded down
}

/// A text that fits an AMQP short string, as names and keys do.
[[nodiscard]] inline std::optional<std::string> read_text(const FieldTable& headers, std::string_view key,
                                                          std::size_t longest = header::longest_text) {
  const std::optional<std::string_view> text = wire::string_of(headers, key);
  if (!text || text->size() > longest) return std::nullopt;
  return std::string(*text);
}

/// The same, and not empty.
[[nodiscard]] inline std::optional<std::string> read_name(const FieldTable& headers, std::string_view key) {
  std::optional<std::string> name = read_text(headers, key);
  return name && !name->empty() ? name : std::nullopt;
}

/// The strings of an array; RabbitMQ reads no other ones out of CC.
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
