#include <warren/consumer_options.hpp>

// The switch has no `default`, so that the compiler warns of a new enumerator that is missing here.

namespace warren::inline v0 {

const char* to_string(AckMode mode) noexcept {
  switch (mode) {
    case AckMode::after_handler:
      return "after_handler";
    case AckMode::manual:
      return "manual";
  }
  return "unknown";
}

const char* to_string(CircuitState state) noexcept {
  switch (state) {
    case CircuitState::closed:
      return "closed";
    case CircuitState::open:
      return "open";
    case CircuitState::half_open:
      return "half_open";
  }
  return "unknown";
}

}  // namespace warren::inline v0
