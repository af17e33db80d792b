#include "consumer/circuit_breaker.hpp"

#include <chrono>

#include "support/catch.hpp"

namespace {

using namespace warren;
using namespace std::chrono_literals;
using consumer::CircuitBreaker;

const CircuitBreaker::Moment start{1'000s};

void record(CircuitBreaker& breaker, int successes, int failures) {
  for (int i = 0; i < successes; ++i) CHECK_FALSE(breaker.record(false, breaker.epoch(), start));
  for (int i = 0; i < failures; ++i) CHECK_FALSE(breaker.record(true, breaker.epoch(), start));
}

TEST_CASE("55: a circuit breaker opens at its share of failures, and not before its window is full") {
  CircuitBreaker breaker({.failure_share = 0.5, .window = 10});
  record(breaker, 0, 9);
  CHECK(breaker.state() == CircuitState::closed);
  CHECK(breaker.record(true, breaker.epoch(), start));
  CHECK(breaker.state() == CircuitState::open);

  CircuitBreaker half({.failure_share = 0.5, .window = 10});
  record(half, 6, 4);
  CHECK(half.state() == CircuitState::closed);
  CHECK(half.record(true, half.epoch(), start));  // a success left the window
  CHECK(half.state() == CircuitState::open);

  CircuitBreaker all({.failure_share = 1, .window = 3});
  record(all, 1, 2);
  record(all, 1, 2);
  CHECK(all.record(true, all.epoch(), start));
}

TEST_CASE("55: an open circuit breaker half opens after its pause, and one message decides") {
  CircuitBreaker breaker({.failure_share = 1, .window = 1, .pause = 30s});
  REQUIRE(breaker.record(true, breaker.epoch(), start));
  CHECK(breaker.probe_at() == start + 30s);
  CHECK_FALSE(breaker.record(false, breaker.epoch(), start + 1s));  // began before
  CHECK_FALSE(breaker.record(true, breaker.epoch(), start + 1s));
  CHECK_FALSE(breaker.probe(start + 30s - 1ms));
  CHECK(breaker.state() == CircuitState::open);

  CHECK(breaker.probe(start + 30s));
  CHECK(breaker.state() == CircuitState::half_open);
  CHECK_FALSE(breaker.probe(start + 31s));
  CHECK(breaker.record(true, breaker.epoch(), start + 31s));
  CHECK(breaker.state() == CircuitState::open);
  CHECK(breaker.probe_at() == start + 61s);

  CHECK(breaker.probe(start + 61s));
  CHECK(breaker.record(false, breaker.epoch(), start + 62s));
  CHECK(breaker.state() == CircuitState::closed);
}

TEST_CASE("what began before a circuit breaker changed does not decide") {
  CircuitBreaker breaker({.failure_share = 1, .window = 1, .pause = 30s});
  const std::uint64_t closed = breaker.epoch();
  REQUIRE(breaker.record(true, closed, start));
  REQUIRE(breaker.probe(start + 30s));
  CHECK_FALSE(breaker.record(false, closed, start + 31s));
  CHECK_FALSE(breaker.record(true, closed, start + 31s));
  CHECK(breaker.state() == CircuitState::half_open);

  const std::uint64_t half_open = breaker.epoch();
  breaker.reset();
  CHECK(breaker.state() == CircuitState::closed);
  CHECK_FALSE(breaker.record(true, half_open, start + 31s));
  CHECK(breaker.record(true, breaker.epoch(), start + 31s));
}

TEST_CASE("a circuit breaker that closes forgets what opened it") {
  CircuitBreaker breaker({.failure_share = 0.5, .window = 4, .pause = 1s});
  record(breaker, 2, 1);
  REQUIRE(breaker.record(true, breaker.epoch(), start));
  REQUIRE(breaker.probe(start + 1s));
  REQUIRE(breaker.record(false, breaker.epoch(), start + 1s));
  record(breaker, 0, 3);
  CHECK(breaker.record(true, breaker.epoch(), start + 1s));
}

}  // namespace
