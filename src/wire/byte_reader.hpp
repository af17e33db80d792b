#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "wire/malformed.hpp"

namespace warren::inline v0::wire {

/// Reads big-endian values from the front of a view, never past its end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) noexcept : rest_(bytes) {}

  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

  std::string_view take(std::size_t count) {
    if (count > rest_.size()) throw MalformedFrame("a field reaches beyond its end");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  template <std::unsigned_integral T>
  T number() {
    const char* bytes = take(sizeof(T)).data();
    const auto byte = [&](std::size_t i) {
      return std::uint64_t{static_cast<unsigned char>(bytes[i])} << 8U * (sizeof(T) - 1 - i);
    };
    return [&]<std::size_t... i>(std::index_sequence<i...>) {  // no loop: compilers turn this into one load
      return static_cast<T>((byte(i) | ...));
    }
    (std::make_index_sequence<sizeof(T)>());
  }

  std::string_view short_string() { return take(number<std::uint8_t>()); }
  std::string_view long_string() { return take(number<std::uint32_t>()); }

 private:
  std::string_view rest_;
};

}  // namespace warren::inline v0::wire
