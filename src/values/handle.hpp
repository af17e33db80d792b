#pragma once

#include <memory>
#include <string>

namespace warren::inline v0 {

/// @throws LogicError  the handle was moved from
[[noreturn]] void refuse_moved_from(const char* handle, const char* operation);
/// @throws LogicError  another process made the handle
[[noreturn]] void refuse_left(const char* handle, const char* operation);

/// Empty, never destroyed: for a handle that was moved from.
[[nodiscard]] const std::string& no_name() noexcept;

/// What a handle stands for, to be used by this process.
/// @param handle  its class, for the error: `Connection`
/// @throws LogicError  it was moved from, or this is a child of the process that made it
template <typename T>
[[nodiscard]] T& use(const std::shared_ptr<T>& inner, const char* handle, const char* operation) {
  if (inner == nullptr) [[unlikely]]
    refuse_moved_from(handle, operation);
  if (inner->process().seems_left()) [[unlikely]]
    refuse_left(handle, operation);
  return *inner;
}

/// Whether there is something to close: not in a handle that was moved from, nor in a child of the process
/// that made it, where the connection is the parent's.
template <typename T>
[[nodiscard]] bool is_to_close(const std::shared_ptr<T>& inner) noexcept {
  return inner != nullptr && !inner->process().is_left();
}

}  // namespace warren::inline v0
