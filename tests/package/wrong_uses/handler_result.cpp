// expected: a handler (takes|returns)
// A handler returns an Outcome or nothing, not an int.
#include <warren/warren.hpp>

void run(warren::Consumer& consumer) {
#ifdef RIGHT
  consumer.run([](const warren::Delivery&) { return warren::Outcome::ack; });
#else
  consumer.run([](const warren::Delivery&) { return 1; });
#endif
}
