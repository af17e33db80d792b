#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <warren/printable.hpp>

/// @file
/// What all fuzzers share. One execution is one call of fuzz(); it ends the process if it finds a fault.
namespace fuzz {

/// Reads a fuzzer's input from the front, so that make_seeds.py can write one down. Past the end all is 0 and
/// empty.
class Input {
 public:
  explicit Input(std::string_view bytes) noexcept : rest_(bytes) {}

  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

  /// At most so many bytes.
  std::string_view take(std::size_t count) noexcept {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  /// Big-endian.
  template <std::integral T>
  T number() noexcept {
    std::uint64_t value = 0;
    for (const char byte : take(sizeof(T))) value = (value << 8U) | static_cast<unsigned char>(byte);
    return static_cast<T>(value);
  }
  std::uint8_t byte() noexcept { return number<std::uint8_t>(); }
  bool flag() noexcept { return (byte() & 1U) != 0; }
  /// One byte, from 0 to below `count`.
  std::size_t below(std::size_t count) noexcept { return byte() % count; }
  /// A byte with the length, then so many bytes. 255 stands for two more bytes with the length.
  std::string_view text() noexcept {
    const std::size_t size = byte();
    return take(size == 255 ? number<std::uint16_t>() : size);
  }

 private:
  std::string_view rest_;
};

/// What must hold, whatever the input.
inline void expect(bool holds, const char* what) noexcept {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

/// Whether a text can be shown in a terminal, whoever wrote it.
inline bool is_safe(std::string_view text) noexcept { return warren::is_printable(text); }

/// One execution. Each fuzzer defines it.
void fuzz(Input input);

}  // namespace fuzz
