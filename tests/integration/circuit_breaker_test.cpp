#include <warren/warren.hpp>

#include <atomic>
#include <stdexcept>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::CircuitBreakerOptions;
using warren::CircuitState;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::InvalidArgument;

namespace {

constexpr std::uint32_t total = 50;

struct Fixture {
  TestQueue queue;
  TestQueue parked;
  LogLines log;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), [this] {
                          warren::ConnectionOptions options = test_options();
                          options.recovery.enabled = true;
                          options.on_log = [this](const warren::LogEvent& event) { log.add(event.text); };
                          return options;
                        }()};
  Gate gate;  // for the handler where it is told to wait
  std::atomic<bool> fails{true};
  std::atomic<bool> waits{false};

  Consumer consumer(CircuitBreakerOptions breaker) {
    return {connection,
            queue.name(),
            {.prefetch = 10,
             .retry = warren::RetryPolicy::immediate({.max_attempts = 1, .parked_queue = parked.name()}),
             .circuit_breaker = breaker}};
  }
  /// Its breaker opens at the first failure and closes at the first success; its handler has failed once.
  Consumer half_open() {
    Consumer made = consumer({.failure_share = 1, .window = 1, .pause = 1ms});
    made.start([this](const Delivery& delivery) { handle(delivery); });
    queue.put("fails");
    REQUIRE(parked.holds(1));
    return made;
  }
  void handle(const Delivery& delivery) {
    if (delivery.body() == "rejected") throw warren::Park("never");
    if (waits) gate.pass();
    if (fails) throw std::runtime_error("on purpose");
  }
};

}  // namespace

TEST_CASE("55: a circuit breaker opens: the subscription is cancelled, what was prefetched is back") {
  Fixture f;
  f.queue.fill(total);
  Consumer consumer = f.consumer({.failure_share = 1, .window = 4, .pause = 1h});
  consumer.start([&](const Delivery& delivery) { f.handle(delivery); });
  REQUIRE(eventually([&] { return consumer.status().circuit == CircuitState::open; }));
  CHECK(eventually([&] { return f.queue.consumers() == 0; }));
  CHECK(f.queue.holds(total - 4));  // no other one began
  CHECK(f.parked.holds(4));
  CHECK_FALSE(consumer.status().subscribed);
  CHECK(eventually([&] { return f.log.has("paused for 3600000 ms"); }));

  SECTION("a recovery does not close it") {
    f.proxy.cut();
    REQUIRE(eventually([&] { return f.log.has("stays paused"); }));
    CHECK(f.queue.consumers() == 0);
    CHECK(consumer.status().circuit == CircuitState::open);
    CHECK(f.queue.ready() >= total - 4);  // acknowledgements of the last milliseconds may go with the link
    CHECK(f.parked.holds(4));
  }
  CHECK(time_of([&] { consumer.stop(); }) < 10s);
}

TEST_CASE("55: a circuit breaker half opens for one message, opens again, and closes") {
  Fixture f;
  f.queue.fill(total);
  Consumer consumer = f.consumer({.failure_share = 1, .window = 1, .pause = 1ms});
  constexpr std::uint32_t tries = 30;  // that fail, each after a pause that may be over before it is noticed
  std::atomic<std::uint32_t> runs{0};
  consumer.start([&](const Delivery&) {
    if (++runs <= tries) throw std::runtime_error("on purpose");
    if (runs == tries + 1) f.gate.pass();
  });
  // In the middle of a try: nothing else is fetched.
  REQUIRE(eventually([&] { return f.gate.waiting() == 1; }));
  CHECK(f.parked.holds(tries));
  CHECK(consumer.status().circuit == CircuitState::half_open);
  CHECK(consumer.status().waiting == 0);
  CHECK(f.queue.holds(total - tries - 1));

  f.gate.open();
  REQUIRE(eventually([&] { return consumer.status().acked == total - tries; }));
  CHECK(consumer.status().circuit == CircuitState::closed);
  CHECK(consumer.status().subscribed);
  CHECK(f.queue.consumers() == 1);
  CHECK(eventually([&] { return f.log.has("succeed again"); }));
  CHECK(f.parked.ready() == tries);
}

TEST_CASE("a circuit that closes has its prefetch again") {
  Fixture f;
  Consumer consumer = f.half_open();
  f.fails = false;
  f.queue.put("succeeds");
  REQUIRE(eventually(
      [&] { return consumer.status().circuit == CircuitState::closed && consumer.status().subscribed; }));
  f.waits = true;
  for (int i = 0; i < 30; ++i) f.queue.put("waits");
  CHECK(eventually([&] { return consumer.status().waiting == 9; }));
  CHECK(f.queue.holds(20));
  f.gate.open();
}

TEST_CASE("what can't be handled for its own sake opens no circuit") {
  Fixture f;
  f.queue.fill(total);
  Consumer consumer = f.consumer({.failure_share = 0.1, .window = 5, .pause = 1h});
  consumer.start([&](const Delivery&) { throw warren::Park("never"); });
  CHECK(f.parked.holds(total));
  CHECK(consumer.status().circuit == CircuitState::closed);
}

TEST_CASE("what is rejected closes no circuit that is half open: the next message is tried") {
  Fixture f;
  Consumer consumer = f.half_open();
  f.queue.put("rejected");
  REQUIRE(f.parked.holds(2));
  CHECK(consumer.status().circuit == CircuitState::half_open);
  f.fails = false;
  f.queue.put("succeeds");
  CHECK(eventually([&] { return consumer.status().circuit == CircuitState::closed; }));
}

TEST_CASE("a consumer that is started again has a closed circuit") {
  Fixture f;
  const bool half_open = GENERATE(false, true);
  CAPTURE(half_open);
  Consumer consumer =
      f.consumer({.failure_share = 1, .window = 1, .pause = half_open ? std::chrono::milliseconds(1) : 1h});
  const auto handler = [&](const Delivery& delivery) { f.handle(delivery); };
  consumer.start(handler);
  f.queue.put("fails");
  REQUIRE(eventually([&] {
    return consumer.status().circuit == (half_open ? CircuitState::half_open : CircuitState::open);
  }));
  REQUIRE(f.parked.holds(1));  // else it comes again
  consumer.stop();
  f.fails = false;
  consumer.start(handler);
  CHECK(consumer.status().circuit == CircuitState::closed);
  for (std::uint32_t i = 0; i < total; ++i) f.queue.put("succeeds");
  CHECK(eventually([&] { return consumer.status().acked == total; }));
}

TEST_CASE("a link that is lost while the circuit closes comes back subscribed") {
  Fixture f;
  Consumer consumer = f.half_open();
  f.fails = false;
  f.waits = true;
  f.queue.put("is tried");
  REQUIRE(eventually([&] { return f.gate.waiting() == 1; }));
  f.proxy.stall();
  f.gate.open();
  // The broker is asked to cancel, and does not answer.
  REQUIRE(eventually(
      [&] { return consumer.status().circuit == CircuitState::closed && !consumer.status().subscribed; }));
  f.proxy.cut();
  f.proxy.resume();
  CHECK(eventually([&] { return consumer.status().subscribed; }));
  for (std::uint32_t i = 0; i < total; ++i) f.queue.put("succeeds");
  CHECK(eventually([&] { return consumer.status().acked >= total; }));
}

TEST_CASE("with a crash guard the suspect queue pauses, too") {
  Fixture f;
  warren::ConsumerOptions options{
      .prefetch = 10,
      .retry = warren::RetryPolicy::immediate({.max_attempts = 1, .parked_queue = f.parked.name()}),
      .crash_guard = warren::CrashGuardOptions{},
      .circuit_breaker = CircuitBreakerOptions{.failure_share = 1, .window = 2, .pause = 2s}};
  f.queue.fill(10);
  Consumer consumer{f.connection, f.queue.name(), options};
  consumer.start([&](const Delivery& delivery) { f.handle(delivery); });
  REQUIRE(eventually([&] { return consumer.status().circuit == CircuitState::open; }));
  CHECK(f.parked.holds(2));
  // The eight that were prefetched come back as suspects. One is tried; it fails, and the next pause begins.
  REQUIRE(f.parked.holds(3));
  f.fails = false;
  CHECK(eventually([&] { return consumer.status().acked == 7; }));
  CHECK(f.parked.ready() == 3);
  consumer.stop();
  f.connection.open_channel().declare_queue_passive(f.queue.name() + "_suspect").remove();
}

TEST_CASE("a circuit breaker that can't be right is refused") {
  Fixture f;
  CHECK_THROWS_AS(f.consumer({.failure_share = 0}), InvalidArgument);
  CHECK_THROWS_AS(f.consumer({.failure_share = 1.1}), InvalidArgument);
  CHECK_THROWS_AS(f.consumer({.window = 0}), InvalidArgument);
  CHECK_THROWS_AS(f.consumer({.pause = 0ms}), InvalidArgument);
}
