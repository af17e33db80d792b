#pragma once

namespace support {

/// Whether a sanitizer has an allocator of its own.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool is_sanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
inline constexpr bool is_sanitized = true;
#else
inline constexpr bool is_sanitized = false;
#endif
#else
inline constexpr bool is_sanitized = false;
#endif

/// The thread sanitizer ends a process that starts threads behind a fork().
#if defined(__SANITIZE_THREAD__)
inline constexpr bool can_start_threads_in_a_child = false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool can_start_threads_in_a_child = false;
#else
inline constexpr bool can_start_threads_in_a_child = true;
#endif
#else
inline constexpr bool can_start_threads_in_a_child = true;
#endif

}  // namespace support
