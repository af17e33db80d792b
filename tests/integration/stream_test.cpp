#include <warren/warren.hpp>

#include <algorithm>
#include <mutex>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// A consumer of a stream: RabbitMQ has no basic.nack there (3.10 closes the connection for one), and keeps no
// position for a consumer.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::ConsumerOptions;
using warren::Delivery;
using warren::FieldTable;
using warren::Outcome;

namespace {

warren::ConnectionOptions recovering() {
  warren::ConnectionOptions options = test_options();
  options.recovery.enabled = true;
  return options;
}

ConsumerOptions from(warren::FieldValue offset, std::uint16_t prefetch = 10) {
  return {.prefetch = prefetch, .arguments = FieldTable{{"x-stream-offset", std::move(offset)}}};
}

// What handlers saw, in their order. Any thread.
class Seen {
 public:
  void add(const Delivery& delivery) {
    const std::lock_guard lock(mutex_);
    bodies_.push_back(std::stoi(std::string(delivery.body())));
  }
  [[nodiscard]] std::size_t size() const { return all().size(); }
  [[nodiscard]] std::size_t count(int body) const {
    const auto bodies = all();
    return static_cast<std::size_t>(std::ranges::count(bodies, body));
  }
  // Each of 0, 1, …, at least once.
  [[nodiscard]] bool has_all(int count) const {
    const auto bodies = all();
    for (int body = 0; body < count; ++body) {
      if (std::ranges::find(bodies, body) == bodies.end()) return false;
    }
    return true;
  }

 private:
  [[nodiscard]] std::vector<int> all() const {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }
  mutable std::mutex mutex_;
  std::vector<int> bodies_;
};

struct Stream {
  Proxy proxy{shared_broker().endpoint()};
  Connection beside{shared_broker().endpoint(), test_options()};
  warren::Channel channel = beside.open_channel();
  warren::Queue queue = channel.declare_queue(unique_name("stream"), {.type = warren::QueueType::stream});
  warren::Publisher publisher{beside, {.routing_key = queue.name()}};
  Connection connection{proxy.endpoint(), recovering()};
  int published = 0;

  ~Stream() {
    try {
      channel.declare_queue_passive(queue.name()).remove();
    } catch (const warren::Error&) {
    }
  }
  void publish(int count) {
    for (int i = 0; i < count; ++i) publisher.publish(warren::Message(std::to_string(published++)));
  }
  // The connection knows what the queue is, from its declaration.
  void declare_here() {
    connection.open_channel().declare_queue(queue.name(), {.type = warren::QueueType::stream});
  }
  [[nodiscard]] std::size_t refusals() const {
    return proxy.count([](const Frame& frame) {
      return frame.method == method::basic_nack || frame.method == method::basic_reject;
    });
  }
  // Cuts, and returns once the consumer is there again.
  void cut(const Consumer& consumer) {
    proxy.cut();
    REQUIRE(eventually([&] { return proxy.links() == 0 || proxy.links_seen() > 1; }));
    REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
    REQUIRE(eventually([&] { return consumer.status().subscribed; }));
  }
  void check_untouched() {
    CHECK(refusals() == 0);
    CHECK(proxy.links_seen() == 1);  // never lost
    CHECK(connection.is_open());
  }
};

}  // namespace

TEST_CASE_METHOD(Stream, "a consumer of a stream stops with messages waiting, and nothing is nacked",
                 "[stream]") {
  const bool declared = GENERATE(true, false);
  if (declared) declare_here();
  publish(30);
  Gate gate;
  Seen seen;
  Consumer consumer{connection, queue.name(), from("first", 20)};
  consumer.start([&](const Delivery& delivery) {
    seen.add(delivery);
    gate.pass();
  });
  REQUIRE(eventually([&] { return consumer.status().waiting == 19; }));
  gate.open();
  consumer.stop();
  CHECK(seen.size() >= 1);
  // What the broker says of a nack would come ahead of this answer.
  CHECK(channel.declare_queue_passive(queue.name()).consumer_count() == 0);
  CHECK_NOTHROW(connection.open_channel());
  check_untouched();
  // A second run of it begins where it was told to.
  consumer.start([&](const Delivery& delivery) { seen.add(delivery); });
  CHECK(eventually([&] { return seen.count(0) == 2 && seen.count(29) == 1; }));
  consumer.stop();
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a misspelt x-stream-offset is refused by name, and costs nobody the connection",
                 "[stream]") {
  const auto error = thrown<warren::InvalidArgument>([&] {
    Consumer consumer{connection, queue.name(), from("frist")};
    consumer.start([](const Delivery&) {});
  });
  CHECK(contains(error.text(), "x-stream-offset is \"frist\""));
  CHECK_NOTHROW(connection.open_channel());
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a handler that throws without a policy ends the run, and a stream gets no nack",
                 "[stream]") {
  publish(5);
  Consumer consumer{connection, queue.name(), from("first")};
  CHECK_THROWS_AS(consumer.run([](const Delivery&) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK_NOTHROW(connection.open_channel());
  check_untouched();
}

TEST_CASE_METHOD(Stream, "Outcome::requeue on a stream runs the handler again, and loses no message",
                 "[stream]") {
  publish(5);
  Seen seen;
  std::atomic<std::int64_t> attempts{0};
  Consumer consumer{connection, queue.name(), from("first")};
  consumer.start([&](const Delivery& delivery) {
    seen.add(delivery);
    attempts = std::max<std::int64_t>(attempts, delivery.retry().attempt);
    return delivery.body() == "2" && seen.count(2) < 3 ? Outcome::requeue : Outcome::ack;
  });
  CHECK(eventually([&] { return consumer.status().acked == 5; }));
  CHECK(seen.count(2) == 3);
  CHECK(seen.size() == 7);
  CHECK(attempts == 1);  // it is no failure
  consumer.stop();
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a handler that always wants its message of a stream again can be stopped",
                 "[stream]") {
  publish(2);
  std::atomic<int> runs{0};
  Consumer consumer{connection, queue.name(), from("first")};
  consumer.start([&](const Delivery&) {
    ++runs;
    return Outcome::requeue;
  });
  REQUIRE(eventually([&] { return runs >= 3; }));
  CHECK_NOTHROW(consumer.stop());
  CHECK(consumer.status().acked == 0);
  check_untouched();
}

TEST_CASE_METHOD(Stream, "Outcome::dead_letter on a stream acknowledges, and goes on", "[stream]") {
  publish(5);
  Seen seen;
  Consumer consumer{connection, queue.name(), from("first", 2)};
  consumer.start([&](const Delivery& delivery) {
    seen.add(delivery);
    return Outcome::dead_letter;
  });
  CHECK(eventually([&] { return seen.has_all(5); }));  // beyond the prefetch
  consumer.stop();
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a stream's delivery refuses nack and reject, and can still be acknowledged",
                 "[stream]") {
  publish(3);
  std::mutex mutex;
  std::vector<Delivery> deliveries;
  ConsumerOptions options = from("first");
  options.ack_mode = warren::AckMode::manual;
  Consumer consumer{connection, queue.name(), options};
  consumer.start([&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    deliveries.push_back(delivery);
  });
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return deliveries.size() == 3;
  }));
  CHECK_THROWS_AS(deliveries[0].nack(warren::Requeue::yes), warren::InvalidArgument);
  CHECK_THROWS_AS(deliveries[0].reject(warren::Requeue::no), warren::InvalidArgument);
  for (const Delivery& delivery : deliveries) CHECK_NOTHROW(delivery.ack());
  consumer.stop();
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a breaker's pause of a stream nacks nothing, and resumes without a gap",
                 "[stream]") {
  publish(20);
  std::atomic<bool> fails{true};
  Seen seen;
  ConsumerOptions options = from("first");
  options.retry = warren::RetryPolicy::immediate();
  options.circuit_breaker = warren::CircuitBreakerOptions{.failure_share = 0.5, .window = 2, .pause = 200ms};
  Consumer consumer{connection, queue.name(), options};
  consumer.start([&](const Delivery& delivery) {
    if (fails) return Outcome::requeue;
    seen.add(delivery);
    return Outcome::ack;
  });
  REQUIRE(eventually([&] { return consumer.status().circuit == warren::CircuitState::open; }));
  CHECK(eventually([&] { return consumer.status().waiting == 0 && !consumer.status().subscribed; }));
  fails = false;
  CHECK(eventually([&] { return seen.has_all(20); }));
  CHECK(eventually([&] { return consumer.status().circuit == warren::CircuitState::closed; }));
  publish(5);
  CHECK(eventually([&] { return seen.has_all(25); }));
  CHECK(seen.size() <= 25 + 10);  // repeats: the prefetch at most
  consumer.stop();
  check_untouched();
}

TEST_CASE_METHOD(Stream, "a consumer of a stream resumes where it was, without a gap and without repeats",
                 "[stream]") {
  const std::string offset = GENERATE("next", "first", "last");
  INFO(offset);
  Seen seen;
  Gate gate;
  Consumer consumer{connection, queue.name(), from(offset)};
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery& delivery) {
    if (++runs > 5) gate.pass();
    seen.add(delivery);
  });
  publish(5);
  REQUIRE(eventually([&] { return consumer.status().acked == 5; }));
  publish(5);  // one with a handler, four that wait
  REQUIRE(eventually([&] { return gate.waiting() == 1 && consumer.status().waiting == 4; }));
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  publish(5);  // meanwhile
  proxy.take_new(true);
  REQUIRE(eventually([&] { return consumer.status().subscribed; }));
  gate.open();
  CHECK(eventually([&] { return seen.has_all(15); }));
  publish(5);
  CHECK(eventually([&] { return seen.has_all(20); }));
  CHECK(seen.size() == 20);
  CHECK(consumer.status().acked == 20);
  consumer.stop();
  CHECK(refusals() == 0);
}

TEST_CASE_METHOD(Stream, "a consumer of a stream that received nothing resumes with what came meanwhile",
                 "[stream]") {
  publish(3);  // of before: not meant by "next"
  const bool named = GENERATE(true, false);
  if (!named) declare_here();
  Seen seen;
  Consumer consumer{connection, queue.name(), named ? from("next") : ConsumerOptions{}};
  consumer.start([&](const Delivery& delivery) { seen.add(delivery); });
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  publish(5);
  proxy.take_new(true);
  REQUIRE(eventually([&] { return consumer.status().subscribed; }));
  for (int body = 3; body < 8; ++body) {
    INFO(body);
    CHECK(eventually([&] { return seen.count(body) == 1; }));
  }
  consumer.stop();
}

TEST_CASE_METHOD(Stream,
                 "by hand: what is unsettled on a stream comes again after a reconnect, the prefetch at most",
                 "[stream]") {
  std::mutex mutex;
  std::vector<Delivery> deliveries;
  Seen seen;
  ConsumerOptions options = from("next");
  options.ack_mode = warren::AckMode::manual;
  options.drain_timeout = 0ms;
  Consumer consumer{connection, queue.name(), options};
  consumer.start([&](const Delivery& delivery) {
    {
      const std::lock_guard lock(mutex);
      deliveries.push_back(delivery);
    }
    seen.add(delivery);
  });
  publish(10);
  REQUIRE(eventually([&] { return seen.has_all(10); }));
  {
    const std::lock_guard lock(mutex);
    for (const std::size_t settled : {0U, 1U, 2U, 5U}) deliveries[settled].ack();
  }
  cut(consumer);
  CHECK(eventually([&] { return seen.count(9) == 2; }));
  CHECK(seen.count(2) == 1);
  CHECK(seen.count(3) == 2);  // the lowest that is unsettled
  CHECK_THROWS_AS(deliveries[3].ack(), warren::Error);
  CHECK_THROWS_AS(consumer.stop(), warren::TimeoutError);  // seven are unsettled
}
