#pragma once

// How the engine behaves when memory runs out: a step that cannot be finished ends the connection. The loss
// of a connection needs no memory.

#include <string>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::engine {

/// The text of an error if there is no memory for its own text. A string of this length allocates nothing.
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

/// The error of a connection that is lost because memory ran out.
[[nodiscard]] inline ErrorDetails lost_without_memory() noexcept {
  return {.text = no_memory, .scope = ErrorScope::connection};
}

/// A copy of the error. If there is no memory for its texts, `text` is `no_memory`, and the other members are
/// kept.
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
