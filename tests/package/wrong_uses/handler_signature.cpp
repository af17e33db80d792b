// expected: warren: a handler takes
// A handler takes a delivery, not a body.
#include <string>
#include <warren/warren.hpp>

void run(warren::Consumer& consumer) {
#ifdef RIGHT
  consumer.run([](const warren::Delivery&) {});
#else
  consumer.run([](const std::string&) {});
#endif
}
