#include <warren/warren.hpp>

#include <algorithm>
#include <functional>
#include <future>
#include <mutex>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// A stop of a consumer with AckMode::manual: it waits for what is unsettled, on whatever thread it is.

using namespace support;
using warren::AckMode;
using warren::ChannelError;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::Requeue;
using warren::TimeoutError;

namespace {

// What a handler passed on, to be settled on another thread.
class Held {
 public:
  void add(const Delivery& delivery) {
    const std::lock_guard lock(mutex_);
    deliveries_.push_back(delivery);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return deliveries_.size();
  }
  [[nodiscard]] Delivery at(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    return deliveries_.at(index);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Delivery> deliveries_;
};

struct Fixture {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Held held;
  const std::function<warren::Outcome(const Delivery&)> hold = [this](const Delivery& delivery) {
    held.add(delivery);
    return warren::Outcome::ack;
  };
};

}  // namespace

TEST_CASE_METHOD(Fixture,
                 "a manual consumer's stop waits for what another thread has yet to settle, and settling it "
                 "succeeds") {
  queue.fill(20);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = 10, .ack_mode = AckMode::manual}};
  consumer.start([&](const Delivery& delivery) {
    held.add(delivery);
    if (held.size() == 6) gate.pass();
  });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  REQUIRE(eventually([&] { return consumer.status().waiting == 4; }));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  CHECK(queue.holds(14));  // what has not begun is back, while six are unsettled
  CHECK(queue.consumers() == 0);
  gate.open();
  REQUIRE(eventually([&] { return consumer.status().running == 0; }));
  CHECK(stopping.wait_for(200ms) == std::future_status::timeout);

  CHECK_NOTHROW(held.at(1).ack_up_to());
  CHECK_NOTHROW(held.at(4).nack(Requeue::yes));
  CHECK_NOTHROW(held.at(3).reject(Requeue::no));
  CHECK_NOTHROW(held.at(2).ack());
  CHECK(stopping.wait_for(200ms) == std::future_status::timeout);
  CHECK_NOTHROW(held.at(5).ack());
  CHECK_NOTHROW(stopping.get());
  CHECK(queue.holds(15));
  CHECK(queue.take_all().count("4") == 1);
}

TEST_CASE_METHOD(Fixture, "a manual consumer that batches on a timer loses no acknowledgement in a stop") {
  constexpr std::uint32_t count = 1'000;
  queue.fill(count);
  std::mutex mutex;
  std::vector<Delivery> batch;
  std::atomic<std::uint32_t> acknowledged{0};
  std::atomic<std::uint32_t> refused{0};
  std::atomic<bool> stops{false};
  const auto flush = [&] {
    const std::lock_guard lock(mutex);
    if (batch.empty()) return;
    try {
      batch.back().ack_up_to();
      acknowledged += static_cast<std::uint32_t>(batch.size());
    } catch (const warren::Error&) {
      refused += static_cast<std::uint32_t>(batch.size());
    }
    batch.clear();
  };
  Consumer consumer{connection, queue.name(), {.prefetch = 100, .ack_mode = AckMode::manual}};
  std::jthread timer([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(20ms);
      if (acknowledged < 300 || stops) flush();  // the stop finds a batch
    }
  });
  consumer.start([&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    batch.push_back(delivery);
  });
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return acknowledged >= 300 && batch.size() == 100;
  }));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  REQUIRE(eventually([&] { return queue.consumers() == 0; }));
  stops = true;
  CHECK_NOTHROW(stopping.get());
  flush();
  CHECK(refused == 0);
  CHECK(queue.holds(count - acknowledged));
}

TEST_CASE_METHOD(Fixture,
                 "what is unsettled at the end of drain_timeout comes again, and the stop says how many") {
  queue.fill(5);
  auto consumer = std::make_optional<Consumer>(
      connection, queue.name(), warren::ConsumerOptions{.ack_mode = AckMode::manual, .drain_timeout = 300ms});
  SECTION("stop()") {
    consumer->start(hold);
    REQUIRE(eventually([&] { return held.size() == 5; }));
    held.at(0).ack();
    const auto error = thrown<TimeoutError>([&] { consumer->stop(); });
    CHECK(contains(error.text(), "4 deliveries are unsettled after 300 ms"));
    CHECK(contains(error.operation(), queue.name()));
    CHECK_NOTHROW(consumer->stop());
    CHECK(queue.holds(4));
  }
  SECTION("run()") {
    std::stop_source stop;
    auto running = std::async(std::launch::async, [&] { consumer->run(hold, stop.get_token()); });
    REQUIRE(eventually([&] { return held.size() == 5; }));
    for (std::size_t i = 0; i < 4; ++i) held.at(i).ack();
    stop.request_stop();
    const auto error = thrown<TimeoutError>([&] { running.get(); });
    CHECK(contains(error.text(), "1 delivery is unsettled after 300 ms"));
    CHECK(queue.holds(1));
  }
  SECTION("the destructor, which says nothing") {
    consumer->start(hold);
    REQUIRE(eventually([&] { return held.size() == 5; }));
    consumer.reset();
    CHECK(queue.holds(5));
  }
  CHECK_THROWS_AS(held.at(4).ack(), ChannelError);
  CHECK(connection.is_open());
}

TEST_CASE_METHOD(Fixture, "a stop says that a handler still runs, and what is unsettled beside it") {
  queue.fill(3);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual, .drain_timeout = 300ms}};
  consumer.start([&](const Delivery& delivery) {
    held.add(delivery);
    if (held.size() == 3) gate.pass();
  });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  const auto error = thrown<TimeoutError>([&] { consumer.stop(); });
  CHECK(contains(error.text(), "a handler still runs, and 3 deliveries are unsettled"));
  CHECK(queue.holds(3));
}

TEST_CASE_METHOD(Fixture, "a manual consumer whose handler settles by itself stops at once") {
  queue.fill(3);
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual, .drain_timeout = 60s}};
  consumer.start([&](const Delivery& delivery) {
    delivery.ack();
    held.add(delivery);
  });
  REQUIRE(eventually([&] { return held.size() == 3; }));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  CHECK(stopping.wait_for(30s) == std::future_status::ready);
  CHECK(queue.holds(0));
}

TEST_CASE_METHOD(Fixture,
                 "a manual consumer runs again after a stop that cut it, and settles on its new channel") {
  queue.fill(2);
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual, .drain_timeout = 100ms}};
  consumer.start(hold);
  REQUIRE(eventually([&] { return held.size() == 2; }));
  CHECK_THROWS_AS(consumer.stop(), TimeoutError);
  consumer.start(hold);
  REQUIRE(eventually([&] { return held.size() == 4; }));
  held.at(3).ack_up_to();
  CHECK_NOTHROW(consumer.stop());
  CHECK(queue.holds(0));
}

TEST_CASE("a manual consumer of a stream stops once its handlers' deliveries are settled") {
  TestQueue stream({.type = warren::QueueType::stream});
  for (int i = 0; i < 20; ++i) stream.put(std::to_string(i));
  Connection connection{shared_broker().endpoint(), test_options()};
  Held held;
  Gate gate;
  Consumer consumer{connection,
                    stream.name(),
                    {.prefetch = 10,
                     .ack_mode = AckMode::manual,
                     .arguments = {{"x-stream-offset", "first"}},
                     .drain_timeout = 60s}};
  consumer.start([&](const Delivery& delivery) {
    held.add(delivery);
    if (held.size() == 3) gate.pass();
  });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  gate.open();
  CHECK(stopping.wait_for(200ms) == std::future_status::timeout);
  CHECK_NOTHROW(held.at(2).ack_up_to());
  CHECK(stopping.wait_for(30s) == std::future_status::ready);
}
