#include "values/handle.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <new>

#include <warren/error.hpp>

namespace warren::inline v0 {

void refuse_moved_from(const char* handle, const char* operation) {
  throw LogicError(
      {.operation = operation, .text = fmt::format("the {} was moved from", handle), .permanent = true});
}

const std::string& no_name() noexcept {
  alignas(std::string) static std::byte room[sizeof(std::string)];
  static const std::string* const name = new (room) std::string();  // an empty string owns no memory
  return *name;
}

void refuse_left(const char* handle, const char* operation) {
  throw LogicError(
      {.operation = operation,
       .text = fmt::format("the {} belongs to the process that forked this one: connect again here", handle),
       .permanent = true});
}

}  // namespace warren::inline v0
