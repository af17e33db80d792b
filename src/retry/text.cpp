#include "retry/text.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <random>

#include "values/utf8.hpp"

namespace warren::inline v0::retry {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string to_utf8(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const std::string_view piece = length == 0 ? replacement : text.substr(0, length);
    if (out.size() + piece.size() > limit) break;
    out += piece;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string random_uuid() {
  std::random_device random;
  const auto word = [&] { return static_cast<std::uint32_t>(random()); };
  const std::uint32_t version = (word() & 0xFFFF'0FFFU) | 0x0000'4000U;
  const std::uint32_t variant = (word() & 0x3FFF'FFFFU) | 0x8000'0000U;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", word(), version >> 16, version & 0xFFFFU,
                     variant >> 16, variant & 0xFFFFU, word());
}

}  // namespace warren::inline v0::retry
