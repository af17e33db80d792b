#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"

// What counts towards a quorum queue's delivery limit differs: from RabbitMQ 4.3 on basic.reject and a closed
// channel do, basic.nack does not. So a handler's failure is a reject, and what is nobody's failure a nack.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::Outcome;

namespace {

struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  std::size_t sent(std::uint32_t method) const {
    return proxy.count([&](const Frame& frame) {
      return frame.method == method && frame.direction == Direction::to_broker;
    });
  }
  // No delivery is left to the end of its channel.
  void check_given_back() const {
    bool closed = false;
    for (const Frame& frame : proxy.frames()) {
      if (frame.direction != Direction::to_broker) continue;
      if (frame.method == method::channel_close) closed = true;
      if (frame.method == method::basic_nack) {
        CHECK(frame.requeue);
        CHECK_FALSE(closed);
      }
    }
    CHECK(closed);
  }
};

}  // namespace

TEST_CASE_METHOD(Proxied, "Outcome::requeue is basic.reject, which counts as a delivery", "[give-back]") {
  queue.fill(1);
  std::atomic<int> runs{0};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery&) { return ++runs < 4 ? Outcome::requeue : Outcome::ack; });
  REQUIRE(eventually([&] { return consumer.status().acked == 1; }));
  CHECK(sent(method::basic_reject) == 3);
  CHECK(sent(method::basic_nack) == 0);
  consumer.stop();
}

TEST_CASE_METHOD(Proxied, "a message whose handler threw without a policy goes back by basic.reject",
                 "[give-back]") {
  queue.fill(3);
  Consumer consumer{connection, queue.name()};
  CHECK_THROWS_AS(consumer.run([](const Delivery&) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(queue.holds(3));
  CHECK(sent(method::basic_reject) == 1);
  check_given_back();  // the two that waited
}

TEST_CASE_METHOD(Proxied, "a stop gives back by basic.nack what no handler had, ahead of the channel's close",
                 "[give-back]") {
  queue.fill(10);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.drain_timeout = 500ms}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1 && consumer.status().waiting == 9; }));
  SECTION("and the message of a handler that does not end, too") {
    CHECK_THROWS_AS(consumer.stop(), warren::TimeoutError);
    CHECK(queue.holds(10));
    CHECK(sent(method::basic_nack) == 10);
  }
  SECTION("so does the connection's close") {
    connection.close();
    CHECK(queue.holds(10));
    CHECK(sent(method::basic_nack) == 1);  // for all of them
  }
  CHECK(sent(method::basic_reject) == 0);
  gate.open();
  CHECK_NOTHROW(consumer.stop());
  CHECK(consumer.status().acked == 0);
  CHECK(eventually([&] { return consumer.status().stale == 1; }));  // of a thread that a drain may have left
}

TEST_CASE("what stops give back never reaches a quorum queue's delivery limit from RabbitMQ 4.3 on",
          "[give-back]") {
  if (shared_broker().version() < std::pair(4, 3)) {
    WARN("before RabbitMQ 4.3 a quorum queue counts each delivery");
    return;
  }
  TestQueue queue({.type = warren::QueueType::quorum, .delivery_limit = 2});
  Connection connection{shared_broker().endpoint(), test_options()};
  // One of the two is with the handler each time, the other one waits: few, so that each has its turns.
  queue.fill(2);
  for (int round = 0; round < 10; ++round) {
    Gate gate;
    Consumer consumer{connection, queue.name(), {.drain_timeout = 0ms}};
    consumer.start([&](const Delivery&) { gate.pass(); });
    REQUIRE(eventually([&] { return gate.waiting() == 1 && consumer.status().waiting == 1; }));
    CHECK_THROWS_AS(consumer.stop(), warren::TimeoutError);
    REQUIRE(queue.holds(2));
  }
}
