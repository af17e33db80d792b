#include <warren/printable.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "values/utf8.hpp"

namespace warren::inline v0 {
namespace {

enum class Kind { plain, line_break, control, direction, no_character };

struct Character {
  Kind kind = Kind::plain;
  std::size_t bytes = 1;
  std::uint32_t code = 0;  // the character's value, or the byte if it is no character
};

// The first character of a text, which must not be empty.
Character first_character(std::string_view text) noexcept {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const std::uint32_t first = byte(0);
  if (first < 0x20) return {first >= 0x09 && first <= 0x0d ? Kind::line_break : Kind::control, 1, first};
  if (first < 0x80) return {first == 0x7f ? Kind::control : Kind::plain, 1, first};
  const std::size_t bytes = utf8_length(text);
  if (bytes == 0) return {Kind::no_character, 1, first};
  if (bytes == 2) {
    const std::uint32_t code = (first & 0x1fU) << 6U | (byte(1) & 0x3fU);
    if (code < 0xa0) return {Kind::control, bytes, code};
    return {code == 0x061c ? Kind::direction : Kind::plain, bytes, code};
  }
  if (bytes == 3) {
    const std::uint32_t code = (first & 0x0fU) << 12U | (byte(1) & 0x3fU) << 6U | (byte(2) & 0x3fU);
    if (code == 0x2028 || code == 0x2029) return {Kind::line_break, bytes, code};
    const bool direction = code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                           (code >= 0x2066 && code <= 0x2069);
    return {direction ? Kind::direction : Kind::plain, bytes, code};
  }
  return {Kind::plain, bytes, 0};
}

}  // namespace

bool is_printable(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte < 0x7f) {
      ++at;
      continue;
    }
    const Character character = first_character(text.substr(at));
    if (character.kind != Kind::plain) return false;
    at += character.bytes;
  }
  return true;
}

std::string printable(std::string_view text) {
  if (is_printable(text)) return std::string(text);
  std::string line;
  while (!text.empty()) {
    const Character character = first_character(text);
    switch (character.kind) {
      case Kind::plain:
        line += text.substr(0, character.bytes);
        break;
      case Kind::line_break:
        if (!line.empty() && line.back() != ' ') line += ' ';
        break;
      case Kind::control:
      case Kind::no_character:
        line += fmt::format("\\x{:02x}", character.code);
        break;
      case Kind::direction:
        line += fmt::format("\\u{:04x}", character.code);
    }
    text.remove_prefix(character.bytes);
    while (character.kind == Kind::line_break && text.starts_with(' ')) text.remove_prefix(1);
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

}  // namespace warren::inline v0
