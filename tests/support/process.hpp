#pragma once

#include <cstddef>
#include <string>

namespace support {

/// What this process holds at a moment, to find leaks by.
struct Resources {
  std::size_t threads = 0;
  std::size_t descriptors = 0;
  std::size_t heap_bytes = 0;  ///< allocated and not freed; 0 where a sanitizer has an allocator of its own
};

[[nodiscard]] Resources resources();
/// The names of the threads, in a line.
[[nodiscard]] std::string thread_names();
/// What the descriptors are, in a line.
[[nodiscard]] std::string descriptor_names();

}  // namespace support
