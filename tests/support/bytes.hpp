#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace support {

/// Bytes that repeat nowhere near a frame's length, so that a frame out of place shows; others for each seed.
inline std::string body_of(std::size_t size, std::uint64_t seed) {
  std::string body(size, '\0');
  std::uint64_t state = seed * 2 + 88'172'645'463'325'253U;  // never 0
  for (std::size_t i = 0; i < size; i += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(body.data() + i, &state, std::min(sizeof state, size - i));
  }
  return body;
}

}  // namespace support
