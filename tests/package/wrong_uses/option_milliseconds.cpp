// expected: milliseconds|std::chrono::duration
// An option that is a time says its unit.
#include <chrono>
#include <warren/warren.hpp>

#ifdef RIGHT
warren::ConsumerOptions options{.drain_timeout = std::chrono::seconds(5)};
#else
warren::ConsumerOptions options{.drain_timeout = 5};
#endif
