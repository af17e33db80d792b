#include "wire/broker_text.hpp"

#include <charconv>

#include <warren/reply_code.hpp>

namespace warren::inline v0::wire {
namespace {

bool says(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

// The text after the first `from`, up to the next `to`.
std::string_view between(std::string_view text, std::string_view from, std::string_view to) {
  const std::size_t begin = text.find(from);
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin + from.size());
  return text.substr(0, text.find(to));
}

constexpr std::string_view node_down = "down or inaccessible";

}  // namespace

bool is_node_down(std::uint16_t code, std::string_view text) noexcept {
  return code == reply_code::not_found && says(text, node_down);
}

bool is_overdue_acknowledgement(std::uint16_t code, std::string_view text) noexcept {
  return code == reply_code::precondition_failed && says(text, "delivery acknowledgement");
}

bool is_denied_transient_queue(std::uint16_t code, std::string_view text) noexcept {
  return code == reply_code::internal_error && says(text, "transient_nonexcl_queues");
}

bool denies_feature(std::string_view text) noexcept {
  return says(text, "deprecated") || says(text, "not permitted");
}

bool tells_limit(std::string_view text) noexcept {
  return says(text, "limit (") || says(text, "reached the maximum");
}

// "NOT_FOUND - no queue 'NAME' in vhost 'VHOST'". The name may contain any characters.
std::optional<std::string_view> missing_queue(std::string_view text) noexcept {
  constexpr std::string_view before = "no queue '";
  const auto begin = text.find(before);
  const auto end = text.rfind("' in vhost '");
  if (begin == text.npos || end == text.npos || says(text, node_down)) return std::nullopt;
  const auto name_at = begin + before.size();
  if (name_at > end) return std::nullopt;
  return text.substr(name_at, end - name_at);
}

bool is_named(std::string_view exchange, std::string_view text) noexcept {
  if (exchange.empty()) return false;
  for (auto at = text.find(exchange); at != text.npos; at = text.find(exchange, at + 1)) {
    const auto behind = at + exchange.size();
    if (at > 0 && text[at - 1] == '\'' && behind < text.size() && text[behind] == '\'') return true;
  }
  return false;
}

// The text is, for example, "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost
// '/': received none but current is the value '7' of type 'long'". For a queue type it says "received
// 'classic' but current is 'stream'". It may also say "current is none".
Inequivalent read_inequivalent(std::string_view text) {
  Inequivalent told;
  told.argument = between(text, "inequivalent arg '", "'");
  // The queue's name comes before it, and may contain any characters.
  constexpr std::string_view separator = " but current is ";
  const std::size_t at = text.rfind(separator);
  if (told.argument.empty() || at == std::string_view::npos) return told;
  text.remove_prefix(at + separator.size());
  const std::string_view value = between(text, "'", "'");
  const std::string_view type = between(text, "of type '", "'");
  if (text.starts_with("none")) return told;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool is_number = error == std::errc() && end == value.data() + value.size();
  if (type.empty() && is_number) {  // if both values are numbers, the text omits the types
    told.current = FieldValue(number);
  } else if (type.empty() || type == "longstr") {
    told.current = FieldValue(std::string(value));
  } else if (type == "bool") {
    told.current = FieldValue(value == "true");
  } else if (is_number) {
    told.current = FieldValue(number);
  }
  return told;
}

}  // namespace warren::inline v0::wire
