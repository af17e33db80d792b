#include <warren/warren.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"

// What a handler may be, and what a consumer may be made for.

using namespace support;
using warren::AckMode;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::Outcome;
using warren::RetryPolicy;

namespace {

using Fixture = ConnectedQueue;

// What handlers took away, on any thread.
class Kept {
 public:
  std::size_t add(Delivery delivery) {
    const std::lock_guard lock(mutex_);
    deliveries_.push_back(std::move(delivery));
    return deliveries_.size();
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return deliveries_.size();
  }
  std::vector<Delivery> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(deliveries_, {});
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Delivery> deliveries_;
};

}  // namespace

TEST_CASE_METHOD(Fixture, "a consumer runs a handler that can only be moved") {
  queue.fill(10);
  std::atomic<int> count{0};
  Consumer consumer{connection, queue.name()};
  consumer.start([state = std::make_unique<int>(1), &count](const Delivery&) { count += *state; });
  CHECK(eventually([&] { return consumer.status().acked == 10; }));
  consumer.stop();
  CHECK(count == 10);
}

TEST_CASE_METHOD(Fixture, "a handler that takes deliveries away keeps their bodies, of any size") {
  const std::vector<std::string> bodies{"", "small", std::string(200'000, 'l')};
  for (const std::string& body : bodies) queue.put(body);
  Kept kept;
  Consumer consumer{connection, queue.name()};
  consumer.start([&](Delivery delivery) { kept.add(std::move(delivery)); });
  REQUIRE(eventually([&] { return consumer.status().acked == bodies.size(); }));
  for (int i = 0; i < 50; ++i) queue.put(std::to_string(i));  // they use the memory of those before again
  REQUIRE(eventually([&] { return consumer.status().acked == bodies.size() + 50; }));
  consumer.stop();
  const auto taken = kept.take();
  for (std::size_t i = 0; i < bodies.size(); ++i) CHECK(taken.at(i).body() == bodies[i]);
  for (std::size_t i = 0; i < 50; ++i) CHECK(taken.at(bodies.size() + i).body() == std::to_string(i));
}

TEST_CASE_METHOD(Fixture,
                 "a handler that takes a delivery away and throws is retried with the whole message") {
  const std::string parked = unique_name("parked");
  const std::string body(1'000, 'b');
  queue.put(body);
  Kept kept;
  Consumer consumer{connection,
                    queue.name(),
                    {.retry = RetryPolicy::immediate({.max_attempts = 3, .parked_queue = parked})}};
  consumer.start([&](Delivery&& delivery) {
    kept.add(std::move(delivery));
    throw std::runtime_error("taken, and failed");
  });
  REQUIRE(eventually([&] { return consumer.status().parked == 1; }));
  consumer.stop();
  const auto taken = kept.take();
  REQUIRE(taken.size() == 3);
  for (const Delivery& delivery : taken) CHECK(delivery.body() == body);
  auto channel = connection.open_channel();
  const auto copy = channel.get_no_ack(parked);
  REQUIRE(copy);
  CHECK(copy->body() == body);
  CHECK(copy->retry().reason == "max-attempts");
  channel.declare_queue_passive(parked).remove();
}

TEST_CASE_METHOD(Fixture, "a delivery that a handler took away is settled by whoever holds it") {
  queue.fill(4);
  Kept kept;
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual}};
  consumer.start([&](Delivery delivery) { kept.add(std::move(delivery)); });
  REQUIRE(eventually([&] { return kept.size() == 4; }));
  auto taken = kept.take();
  taken[0].ack();
  taken[1].nack(warren::Requeue::no);
  taken[2].ack();
  taken[3].reject(warren::Requeue::no);
  CHECK_THROWS_AS(taken[0].ack(), warren::InvalidArgument);
  consumer.stop();
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Fixture, "a consumer is made for a queue that was declared") {
  queue.fill(3);
  auto channel = connection.open_channel();
  const warren::Queue declared = channel.declare_queue_passive(queue.name());
  Consumer consumer{connection, declared};
  CHECK(consumer.queue() == queue.name());
  consumer.start([](const Delivery&) {});
  CHECK(eventually([&] { return consumer.status().acked == 3; }));
  consumer.stop();
  Consumer with_options{connection, declared, {.prefetch = 1}};
  CHECK(with_options.queue() == queue.name());
}

TEST_CASE_METHOD(Fixture,
                 "to run a consumer that runs already is a LogicError, and wait_for says that it runs") {
  Consumer consumer{connection, queue.name()};
  consumer.start([](const Delivery&) {});
  CHECK_THROWS_AS(consumer.start([](const Delivery&) {}), warren::LogicError);
  CHECK_THROWS_AS(consumer.run([](const Delivery&) {}), warren::LogicError);
  CHECK_FALSE(consumer.wait_for(1ms));
  consumer.stop();
  CHECK(consumer.wait_for(1ms));
  CHECK_NOTHROW(consumer.start([](const Delivery&) {}));
  consumer.stop();
}
