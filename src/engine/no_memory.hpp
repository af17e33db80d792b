#pragma once

// What the engine does without memory: a step that can't be finished ends the connection, and its loss needs
// no memory.

#include <string>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::engine {

/// The text of an error whose own text found no memory. A string of this length allocates nothing.
inline constexpr const char* no_memory = "no memory";

/// What `make` returns, or `no_memory`.
template <typename Make>
[[nodiscard]] std::string text_or_no_memory(Make&& make) noexcept {
  try {
    return std::forward<Make>(make)();
  } catch (...) {
    return no_memory;
  }
}

/// The loss of a connection for a lack of memory.
[[nodiscard]] inline ErrorDetails lost_without_memory() noexcept {
  return {.text = no_memory, .scope = ErrorScope::connection};
}

/// A copy. If there is no memory for the texts, the text is `no_memory`, and all else is kept.
[[nodiscard]] inline ErrorDetails kept(const ErrorDetails& error) noexcept {
  try {
    return error;
  } catch (...) {
    return {.operation = {},
            .code = error.code,
            .text = no_memory,
            .scope = error.scope,
            .permanent = error.permanent,
            .in_doubt = error.in_doubt};
  }
}

}  // namespace warren::inline v0::engine
