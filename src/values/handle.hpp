#pragma once

#include <memory>
#include <string>

namespace warren::inline v0 {

/// Throws the error for a handle that was moved from.
/// @throws LogicError  always
[[noreturn]] void refuse_moved_from(const char* handle, const char* operation);
/// Throws the error for a handle that another process made.
/// @throws LogicError  always
[[noreturn]] void refuse_left(const char* handle, const char* operation);

/// The empty name of a handle that was moved from. It is never destroyed.
[[nodiscard]] const std::string& no_name() noexcept;

/// Returns the object behind a handle, if this process may use it.
/// @param handle  the name of the handle's class, for the error, for example `Connection`
/// @throws LogicError  the handle was moved from, or this process is a child of the one that made it
template <typename T>
[[nodiscard]] T& use(const std::shared_ptr<T>& inner, const char* handle, const char* operation) {
  if (inner == nullptr) [[unlikely]]
    refuse_moved_from(handle, operation);
  if (inner->process().seems_left()) [[unlikely]]
    refuse_left(handle, operation);
  return *inner;
}

/// Whether a handle has something to close. A moved-from handle has nothing. Nor has a handle in a child of
/// the process that made it, because the connection belongs to the parent.
template <typename T>
[[nodiscard]] bool is_to_close(const std::shared_ptr<T>& inner) noexcept {
  return inner != nullptr && !inner->process().is_left();
}

}  // namespace warren::inline v0
