#include <warren/warren.hpp>

#include <atomic>
#include <future>
#include <optional>
#include <stdexcept>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// A stop ends within ConsumerOptions::stop_within, though the broker does not answer.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::ConsumerOptions;
using warren::Delivery;
using warren::Outcome;
using warren::TimeoutError;

namespace {

// What a stop would take if it waited for the broker, and for how long it may: far apart, for a busy machine.
constexpr auto patience = 120s;
constexpr auto stop_within = 2s;
constexpr auto in_time = 60s;

warren::ConnectionOptions patient_options() {
  warren::ConnectionOptions options = test_options();
  options.operation_timeout = patience;
  options.connect_timeout = patience;
  options.close_timeout = patience;
  options.heartbeat = 0s;
  return options;
}

struct Fixture {
  TestQueue queue;
  TestQueue parked;
  Proxy proxy{shared_broker().endpoint()};
  Gate gate;
  std::atomic<int> begun{0};
  std::optional<Connection> connection{std::in_place, proxy.endpoint(), patient_options()};
  std::optional<Consumer> consumer;

  ~Fixture() {
    proxy.cut();  // threads that were left behind end
    gate.open();
    consumer.reset();
    connection.reset();
    try {
      Connection(shared_broker().endpoint(), test_options())
          .open_channel()
          .declare_queue_passive(queue.name() + "_suspect")
          .remove();
    } catch (const warren::Error&) {  // no crash guard made it
    }
  }
  Consumer& make(ConsumerOptions options) {
    options.stop_within = stop_within;
    return consumer.emplace(*connection, queue.name(), std::move(options));
  }
  [[nodiscard]] warren::RetryPolicy policy() const {
    return warren::RetryPolicy::immediate({.max_attempts = 1, .parked_queue = parked.name()});
  }
  // The text of what the stop was too early for; empty: nothing.
  std::string check_stop() {
    const bool destroy = GENERATE(false, true);
    std::string text;
    CHECK(time_of([&] {
            if (destroy) return consumer.reset();
            try {
              consumer->stop();
            } catch (const TimeoutError& error) {
              text = error.text();
            }
          }) < in_time);
    return destroy ? "destroyed" : text;
  }
};

bool says(const std::string& text, std::string_view part) {
  return text == "destroyed" || (part.empty() ? text.empty() : contains(text, part));
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a stop ends in time on a link that stalls", "[faults]") {
  queue.fill(3);
  SECTION("nothing runs") {
    make({}).start([&](const Delivery&) { ++begun; });
    REQUIRE(queue.holds(0));
    REQUIRE(eventually([&] { return consumer->status().acked == 3; }));
    proxy.stall();
    CHECK(says(check_stop(), ""));
  }
  SECTION("a handler runs on") {
    make({}).start([&](const Delivery&) { gate.pass(); });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    proxy.stall();
    CHECK(says(check_stop(), "a handler still runs"));
  }
  SECTION("a handler runs on, and the broker falls silent once it has cancelled") {
    make({}).start([&](const Delivery&) { gate.pass(); });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    consumer->request_stop();
    REQUIRE(eventually([&] { return queue.consumers() == 0; }));
    proxy.stall();
    CHECK(says(check_stop(), "a handler still runs"));
  }
  SECTION("with a crash guard") {
    make({.retry = policy(), .crash_guard = warren::CrashGuardOptions{}}).start([&](const Delivery&) {
      gate.pass();
    });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    proxy.stall();
    CHECK(says(check_stop(), "a handler still runs"));
  }
  SECTION("a copy is held") {
    make({.retry = policy()}).start([&](const Delivery&) {
      gate.pass();
      throw std::runtime_error("to the parked queue, which nobody reaches");
    });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    proxy.stall();
    gate.open();
    REQUIRE(eventually([&] { return proxy.links_seen() == 2; }));  // for the copy
    CHECK(says(check_stop(), "a handler still runs"));
  }
  SECTION("after a copy, over a connection of its own") {
    make({.retry = policy()}).start([&](const Delivery&) { throw std::runtime_error("parked"); });
    REQUIRE(eventually([&] { return consumer->status().parked == 3; }));
    proxy.stall();
    CHECK(says(check_stop(), ""));
  }
  SECTION("the circuit breaker cancels the subscription at the moment") {
    make({.circuit_breaker = warren::CircuitBreakerOptions{.window = 1}}).start([&](const Delivery&) {
      gate.pass();
      return Outcome::requeue;
    });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    proxy.stall();
    gate.open();
    REQUIRE(eventually([&] { return consumer->status().circuit == warren::CircuitState::open; }));
    CHECK(says(check_stop(), ""));
  }
  SECTION("deliveries are unsettled") {
    make({.ack_mode = warren::AckMode::manual}).start([&](const Delivery&) { ++begun; });
    REQUIRE(eventually([&] { return begun == 3; }));
    proxy.stall();
    CHECK(says(check_stop(), "3 deliveries are unsettled"));
  }
}

TEST_CASE_METHOD(Fixture, "run() returns in time on a link that stalls, once its token asks for it",
                 "[faults]") {
  queue.fill(1);
  std::stop_source stop;
  make({});
  auto running = std::async(std::launch::async,
                            [&] { consumer->run([&](const Delivery&) { gate.pass(); }, stop.get_token()); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  proxy.stall();
  stop.request_stop();
  REQUIRE(running.wait_for(in_time) == std::future_status::ready);
  CHECK_THROWS_AS(running.get(), TimeoutError);
}

TEST_CASE_METHOD(Fixture, "a stop does not wait for a start() that the broker does not answer", "[faults]") {
  make({});
  proxy.stall(Direction::to_client);
  auto starting = std::async(std::launch::async, [&] { consumer->start([](const Delivery&) {}); });
  REQUIRE(eventually([&] { return proxy.count([](const Frame& frame) { return frame.channel == 1; }) > 0; }));
  CHECK(time_of([&] { CHECK_NOTHROW(consumer->stop()); }) < in_time);
  CHECK(starting.wait_for(0s) == std::future_status::timeout);
  proxy.resume();
  CHECK_NOTHROW(starting.get());  // as one that a stop found open
  CHECK(eventually([&] { return queue.consumers() == 0; }));
  queue.put("m");
  consumer->start([&](const Delivery&) { ++begun; });
  CHECK(eventually([&] { return begun == 1; }));
  CHECK_NOTHROW(consumer->stop());
}

TEST_CASE_METHOD(Fixture, "a stop ends a start() that waits for a connection to recover", "[faults]") {
  warren::ConnectionOptions options = patient_options();
  options.recovery.enabled = true;
  connection.emplace(proxy.endpoint(), options);
  make({});
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection->is_open(); }));
  auto starting = std::async(std::launch::async, [&] { consumer->start([](const Delivery&) {}); });
  CHECK(starting.wait_for(200ms) == std::future_status::timeout);
  CHECK(time_of([&] {
          consumer->request_stop();
          CHECK_NOTHROW(starting.get());
          CHECK_NOTHROW(consumer->stop());
        }) < in_time);
  proxy.take_new(true);
}

TEST_CASE_METHOD(Fixture,
                 "a manual consumer's stop does not wait for deliveries once their connection is lost",
                 "[faults]") {
  queue.fill(3);
  consumer.emplace(*connection, queue.name(),
                   ConsumerOptions{.ack_mode = warren::AckMode::manual, .drain_timeout = patience});
  consumer->start([&](const Delivery&) { ++begun; });
  REQUIRE(eventually([&] { return begun == 3; }));
  auto stopping = std::async(std::launch::async, [&] { consumer->stop(); });
  REQUIRE(eventually([&] { return queue.consumers() == 0; }));
  CHECK(stopping.wait_for(200ms) == std::future_status::timeout);
  proxy.cut();
  REQUIRE(stopping.wait_for(in_time) == std::future_status::ready);
  CHECK_NOTHROW(stopping.get());
  CHECK(queue.holds(3));
}

TEST_CASE(
    "by default a stop and the close of its connection fit into Kubernetes' 30 s, with a broker that falls "
    "silent in the drain",
    "[faults]") {
  TestQueue queue;
  queue.fill(1);
  Proxy proxy(shared_broker().endpoint());
  Gate gate;
  std::optional<Connection> connection(std::in_place, proxy.endpoint());
  std::optional<Consumer> consumer(std::in_place, *connection, queue.name());
  consumer->start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  CHECK(time_of([&] {
          consumer->request_stop();
          CHECK(eventually([&] { return queue.consumers() == 0; }));
          proxy.stall();
          CHECK_THROWS_AS(consumer->stop(), TimeoutError);
          consumer.reset();
          connection.reset();
        }) < 30s);
  proxy.cut();
}
