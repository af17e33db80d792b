#pragma once

// The only header that includes rabbitmq-c. From 0.12 <amqp.h> is a shim with a #warning.
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#include <cstddef>
#include <limits>
#include <new>
#include <string_view>
#include <type_traits>

namespace warren::inline v0::wire {

/// Owns an amqp_pool_t. Memory from it is valid until recycle() or the pool's destruction.
class Pool {
 public:
  Pool() noexcept { init_amqp_pool(&pool_, page_size); }
  ~Pool() { empty_amqp_pool(&pool_); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] amqp_pool_t* get() noexcept { return &pool_; }
  /// Takes back all memory from the pool, and keeps the pages for the next use.
  void recycle() noexcept { recycle_amqp_pool(&pool_); }

  /// Memory for `count` values, uninitialised; nullptr if `count` is 0.
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  [[nodiscard]] T* allocate(std::size_t count) {
    if (count == 0) return nullptr;
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    void* memory = amqp_pool_alloc(&pool_, count * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }

 private:
  static constexpr std::size_t page_size = 4096;
  amqp_pool_t pool_{};
};

/// A view for the C API, which has no const parameters. The C API only reads it.
[[nodiscard]] inline amqp_bytes_t to_bytes(std::string_view text) noexcept {
  amqp_bytes_t bytes{};
  bytes.len = text.size();
  bytes.bytes = const_cast<char*>(text.data());
  return bytes;
}

[[nodiscard]] inline std::string_view to_view(const amqp_bytes_t& bytes) noexcept {
  return bytes.len == 0 ? std::string_view()
                        : std::string_view(static_cast<const char*>(bytes.bytes), bytes.len);
}

}  // namespace warren::inline v0::wire
