#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

#include "values/limits.hpp"

namespace warren::inline v0::wire {

/// The deepest nesting of tables and arrays, including the outermost table.
inline constexpr int max_nesting = 32;

[[noreturn]] inline void refuse(std::string operation, std::string text) {
  throw InvalidArgument(
      ErrorDetails{.operation = std::move(operation), .text = std::move(text), .permanent = true});
}

/// Throws for a call that the object cannot serve in its state.
[[noreturn]] inline void refuse_misuse(std::string operation, std::string text) {
  throw LogicError(
      ErrorDetails{.operation = std::move(operation), .text = std::move(text), .permanent = true});
}

inline void check_short_string(std::string_view value, const char* operation, const char* name) {
  if (value.size() > max_short_string) {
    refuse(operation, std::string(name) + " is " + std::to_string(value.size()) + " bytes, above " +
                          std::to_string(max_short_string));
  }
}

}  // namespace warren::inline v0::wire
