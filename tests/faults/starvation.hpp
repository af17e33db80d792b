#pragma once

#include <cstddef>

/// Takes memory and threads from the program that links this, which replaces its operator new and its
/// pthread_create, and looks at each descriptor that it makes. Of a program of its own: see
/// starved_child.cpp.
namespace starvation {

/// One allocation, or each one, fails with std::bad_alloc on the thread with that name (at most 15 bytes), on
/// the main thread ("main"), or on those of neither the program's nor the library's names ("resolver").
/// @param nth  counted from 1, from this call on; 0: all that come, on all threads of the library's
void starve_of_memory(const char* thread, long nth) noexcept;
/// How many allocations are to come before the one that fails; 0 once it has failed.
[[nodiscard]] long allocations_left() noexcept;
void end() noexcept;

/// The main thread is starved only between the two, in calls of the library.
class Call {
 public:
  Call() noexcept;
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
};

/// While one is there, its thread is spared: what a handler of the test's own asks for.
class Spared {
 public:
  Spared() noexcept;
  ~Spared();
  Spared(const Spared&) = delete;
  Spared& operator=(const Spared&) = delete;
};

/// From the thread after so many on, none can be started (EAGAIN).
void starve_of_threads(std::size_t after) noexcept;
/// How many were refused so far.
[[nodiscard]] std::size_t threads_refused() noexcept;

/// How many descriptors a child that is forked beside would have inherited, as they were not closed on exec
/// from their first moment on.
[[nodiscard]] std::size_t inheritable_descriptors() noexcept;

}  // namespace starvation
