#include <warren/retry_policy.hpp>

// The switch has no `default`, so that the compiler warns of a new enumerator that is missing here.

namespace warren::inline v0 {

const char* to_string(RetryPolicy::Shape shape) noexcept {
  switch (shape) {
    case RetryPolicy::Shape::none:
      return "none";
    case RetryPolicy::Shape::immediate:
      return "immediate";
    case RetryPolicy::Shape::to_queue:
      return "to_queue";
    case RetryPolicy::Shape::delayed:
      return "delayed";
  }
  return "unknown";
}

}  // namespace warren::inline v0
