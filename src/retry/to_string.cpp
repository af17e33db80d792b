#include <warren/retry_policy.hpp>

// A switch without `default`, so that the compiler misses a new enumerator.

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
