#include <warren/warren.hpp>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// Stops that are asked for in a handler, and several at once.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::InvalidArgument;
using warren::TimeoutError;

namespace {

using Fixture = ConnectedQueue;

static_assert(noexcept(std::declval<Consumer&>().request_stop()));

}  // namespace

TEST_CASE_METHOD(Fixture,
                 "request_stop() in a handler: it is acknowledged, no other begins, and run() returns") {
  const std::size_t concurrency = GENERATE(std::size_t{1}, std::size_t{4});
  queue.fill(20);
  std::atomic<std::uint32_t> handled{0};
  Consumer consumer{connection, queue.name(), {.concurrency = concurrency}};
  CHECK_NOTHROW(consumer.run([&](const Delivery&) {
    ++handled;
    if (handled >= 7) consumer.request_stop();
  }));
  CHECK(handled >= 7);
  CHECK(consumer.status().acked == handled);
  CHECK(consumer.status().stale == 0);
  CHECK(queue.holds(20 - handled));
  CHECK(queue.consumers() == 0);
}

TEST_CASE_METHOD(Fixture, "request_stop() does not wait for handlers, and stop() after it does") {
  queue.fill(1);
  Gate gate;
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  consumer.request_stop();  // returns, though the gate is shut
  consumer.request_stop();
  CHECK(consumer.status().running == 1);
  CHECK_FALSE(consumer.wait_for(50ms));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  CHECK(stopping.wait_for(100ms) == std::future_status::timeout);
  gate.open();
  CHECK_NOTHROW(stopping.get());
  CHECK(consumer.status().acked == 1);
  CHECK(queue.holds(0));
}

TEST_CASE_METHOD(Fixture, "request_stop() without a run does nothing, and the next run is another one") {
  Consumer consumer{connection, queue.name()};
  consumer.request_stop();
  for (std::uint64_t round = 1; round <= 2; ++round) {
    consumer.start([](const Delivery&) {});
    queue.put("m");
    CHECK(eventually([&] { return consumer.status().acked == round; }));
    consumer.stop();
    consumer.request_stop();
  }
}

TEST_CASE_METHOD(Fixture,
                 "what would wait for its own handler is refused there at once, and names the way out") {
  queue.fill(6);
  std::mutex mutex;
  std::vector<std::string> texts;
  const auto refused = [&](auto&& call) {
    const auto error = thrown<InvalidArgument>(call);
    CHECK(error.permanent());
    CHECK(contains(error.text(), queue.name()));
    const std::lock_guard lock(mutex);
    texts.push_back(error.operation() + ": " + error.text());
  };
  Consumer consumer{connection, queue.name()};
  const auto nothing = [](const Delivery&) {};
  consumer.run([&](const Delivery& delivery) {
    switch (delivery.body().front()) {
      case '0':
        return refused([&] { consumer.stop(); });
      case '1':
        return refused([&] { consumer.wait(); });
      case '2':
        return refused([&] { consumer.wait_for(60s); });
      case '3':
        return refused([&] { consumer.run(nothing); });
      case '4':
        return refused([&] { consumer.start(nothing); });
      default:
        return consumer.request_stop();
    }
  });
  REQUIRE(texts.size() == 5);
  for (const std::string& text : texts) CHECK(contains(text, "request_stop()"));
  CHECK(contains(texts.front(), "stop: "));
  CHECK(consumer.status().acked == 6);
}

TEST_CASE_METHOD(Fixture, "stop() in a handler fails that handler, and the consumer goes on") {
  queue.fill(2);
  const TestQueue parked;
  Consumer consumer{
      connection,
      queue.name(),
      {.retry = warren::RetryPolicy::immediate({.max_attempts = 1, .parked_queue = parked.name()})}};
  consumer.start([&](const Delivery& delivery) {
    if (delivery.body() == "0") consumer.stop();
  });
  CHECK(eventually([&] { return consumer.status().acked == 1 && consumer.status().parked == 1; }));
  CHECK_NOTHROW(consumer.stop());
}

TEST_CASE_METHOD(Fixture, "a handler may stop another consumer") {
  TestQueue of_other;
  of_other.fill(5);
  queue.fill(1);
  Consumer other{connection, of_other.name()};
  other.start([](const Delivery&) {});
  REQUIRE(eventually([&] { return other.status().acked == 5; }));
  Consumer consumer{connection, queue.name()};
  consumer.run([&](const Delivery&) {
    other.stop();
    consumer.request_stop();
  });
  CHECK(consumer.status().acked == 1);
  CHECK(of_other.consumers() == 0);
}

TEST_CASE_METHOD(Fixture,
                 "a consumer that its handler destroys drains in the background: the handler is settled") {
  queue.fill(10);
  auto consumer = std::make_unique<Consumer>(connection, queue.name());
  std::atomic<bool> destroyed{false};
  SECTION("started") {
    consumer->start([&](const Delivery&) {
      consumer.reset();
      destroyed = true;
    });
    REQUIRE(eventually([&] { return destroyed.load(); }));
  }
  SECTION("run") {
    CHECK_NOTHROW(consumer->run([&](const Delivery&) {
      consumer.reset();
      destroyed = true;
    }));
    CHECK(destroyed);
  }
  CHECK(queue.holds(9));
  CHECK(eventually([&] { return queue.consumers() == 0; }));
  CHECK(eventually([&] { return connection.open_channel().number() == 1; }));
}

TEST_CASE_METHOD(Fixture, "each of several stops at once waits for the drain, and is told what was cut") {
  queue.fill(1);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.drain_timeout = 3s}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  std::atomic<int> told{0};
  std::latch begin(4);
  {
    std::vector<std::jthread> crowd;
    for (int i = 0; i < 4; ++i) {
      crowd.emplace_back([&] {
        begin.arrive_and_wait();
        const auto error = thrown<TimeoutError>([&] { consumer.stop(); });
        if (contains(error.text(), "a handler still runs after 3000 ms")) ++told;
      });
    }
  }
  CHECK(told == 4);
  CHECK_NOTHROW(consumer.stop());
  CHECK(queue.holds(1));
  gate.open();  // the handler that was left behind ends before what it stands on
  CHECK(eventually([&] { return consumer.status().running == 0; }));
}
