#include <warren/connection_state.hpp>
#include <warren/log.hpp>

namespace warren::inline v0 {

const char* to_string(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "unknown";
}

const char* to_string(ConnectionState state) noexcept {
  switch (state) {
    case ConnectionState::connecting:
      return "connecting";
    case ConnectionState::open:
      return "open";
    case ConnectionState::waiting:
      return "waiting";
    case ConnectionState::closing:
      return "closing";
    case ConnectionState::closed:
      return "closed";
    case ConnectionState::failed:
      return "failed";
  }
  return "unknown";
}

}  // namespace warren::inline v0
