// expected: milliseconds|std::chrono::duration
// A delay says its unit.
#include <chrono>
#include <warren/warren.hpp>

warren::RetryPolicy policy() {
#ifdef RIGHT
  return warren::RetryPolicy::fixed(std::chrono::milliseconds(500));
#else
  return warren::RetryPolicy::fixed(500);
#endif
}
