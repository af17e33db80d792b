#include <warren/warren.hpp>

#include <condition_variable>
#include <latch>
#include <mutex>
#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::AckMode;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::Outcome;

namespace {

using Fixture = ConnectedQueue;

struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  std::size_t sent(std::uint32_t wanted) const {
    return proxy.count([&](const Frame& frame) {
      return frame.method == wanted && frame.direction == Direction::to_broker;
    });
  }
};

// Bodies that handlers saw, on any thread.
class Seen {
 public:
  void add(const Delivery& delivery) {
    const std::lock_guard lock(mutex_);
    bodies_.emplace(delivery.body());
  }
  std::multiset<std::string> bodies() const {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }
  std::size_t size() const { return bodies().size(); }

 private:
  mutable std::mutex mutex_;
  std::multiset<std::string> bodies_;
};

}  // namespace

TEST_CASE_METHOD(Fixture, "a handler that returns acknowledges: each message is handled once and gone") {
  queue.fill(100);
  Seen seen;
  Consumer consumer{connection, queue.name()};
  CHECK(consumer.queue() == queue.name());
  CHECK_FALSE(consumer.status().subscribed);
  consumer.start([&](const Delivery& delivery) { seen.add(delivery); });
  CHECK(consumer.status().subscribed);
  CHECK(queue.consumers() == 1);
  CHECK(eventually([&] { return consumer.status().acked == 100; }));
  consumer.stop();
  CHECK_FALSE(consumer.status().subscribed);
  CHECK(queue.consumers() == 0);
  CHECK(seen.bodies() == numbered(100));
  CHECK(queue.ready() == 0);
  CHECK(consumer.status().stale == 0);
}

TEST_CASE_METHOD(Fixture,
                 "Outcome::ack acknowledges; Outcome::requeue puts back, to come again as redelivered") {
  queue.fill(10);
  Seen first;
  Seen again;
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery& delivery) {
    (delivery.redelivered() ? again : first).add(delivery);
    return delivery.redelivered() || delivery.body() == "3" ? Outcome::ack : Outcome::requeue;
  });
  CHECK(eventually([&] { return consumer.status().acked == 10; }));
  consumer.stop();
  CHECK(first.bodies() == numbered(10));
  auto others = numbered(10);
  others.erase("3");
  CHECK(again.bodies() == others);
  CHECK(queue.ready() == 0);
}

TEST_CASE("Outcome::dead_letter hands a message to the queue's dead-letter exchange") {
  TestQueue dead;
  TestQueue queue({.dead_letter_exchange = "", .dead_letter_routing_key = dead.name()});
  queue.fill(5);
  Connection connection{shared_broker().endpoint(), test_options()};
  Consumer consumer{connection, queue.name()};
  consumer.start(
      [&](const Delivery& delivery) { return delivery.body() == "2" ? Outcome::dead_letter : Outcome::ack; });
  CHECK(dead.holds(1));
  CHECK(eventually([&] { return consumer.status().acked == 4; }));
  consumer.stop();
  const Delivery delivery = dead.take();
  CHECK(delivery.body() == "2");
  CHECK(delivery.headers().contains("x-death"));
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Proxied, "the broker never has more than the prefetch unacknowledged") {
  const auto ack_mode = GENERATE(AckMode::after_handler, AckMode::manual);
  queue.fill(200);
  Consumer consumer{connection, queue.name(), {.prefetch = 5, .concurrency = 2, .ack_mode = ack_mode}};
  std::atomic<int> handled{0};
  std::atomic<int> over{0};
  consumer.start([&](const Delivery& delivery) {
    const warren::ConsumerStatus status = consumer.status();
    // Two more may run whose acknowledgement is out already: the broker sends the next ones.
    if (status.waiting + status.running > 5 + 2) ++over;
    if (ack_mode == AckMode::manual) delivery.ack();
    ++handled;
  });
  CHECK(eventually([&] { return handled == 200; }));
  consumer.stop();
  CHECK(over == 0);
  CHECK(queue.ready() == 0);

  // The same in the order on the wire: what has been delivered, less what has been acknowledged.
  std::set<std::uint64_t> open;
  std::size_t most = 0;
  for (const Frame& frame : proxy.frames()) {
    if (frame.method == method::basic_deliver) open.insert(frame.delivery_tag);
    if (frame.method == method::basic_ack && frame.direction == Direction::to_broker) {
      if (frame.multiple) open.erase(open.begin(), open.upper_bound(frame.delivery_tag));
      open.erase(frame.delivery_tag);
    }
    most = std::max(most, open.size());
  }
  CHECK(most <= 5);
  CHECK(most >= 2);
}

TEST_CASE_METHOD(Fixture, "what a slow handler leaves unacknowledged is the prefetch, no more") {
  queue.fill(30);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = 5}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(queue.holds(25));
  CHECK(eventually([&] {
    const auto status = consumer.status();
    return status.running == 1 && status.waiting == 4;
  }));
  bool told = false;
  for (const auto& row : shared_broker().list({"list_queues", "name", "messages_unacknowledged"})) {
    if (row[0] != queue.name()) continue;
    CHECK(row[1] == "5");
    told = true;
  }
  CHECK(told);
  gate.open();
  CHECK(eventually([&] { return consumer.status().acked == 30; }));
}

TEST_CASE_METHOD(Fixture, "`concurrency` handlers run at once, no more") {
  queue.fill(200);
  std::latch together(4);
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  Consumer consumer{connection, queue.name(), {.concurrency = 4}};
  consumer.start([&](const Delivery& delivery) {
    const int now = ++running;
    for (int before = most; now > before && !most.compare_exchange_weak(before, now);) {
    }
    // The first four meet, or this would never end.
    if (std::stoi(std::string(delivery.body())) < 4) together.arrive_and_wait();
    --running;
  });
  CHECK(eventually([&] { return consumer.status().acked == 200; }));
  consumer.stop();
  CHECK(most == 4);
}

TEST_CASE_METHOD(Fixture, "deliveries that many other threads acknowledge are each settled once") {
  constexpr std::uint32_t count = 2'000;
  queue.fill(count);
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Delivery> handed_over;
  std::atomic<std::uint32_t> settled{0};
  std::atomic<int> failed{0};
  {
    Consumer consumer{
        connection, queue.name(), {.prefetch = 100, .concurrency = 2, .ack_mode = AckMode::manual}};
    consumer.start([&](const Delivery& delivery) {
      const std::lock_guard lock(mutex);
      handed_over.push_back(delivery);
      arrived.notify_one();
    });
    std::vector<std::jthread> crowd;
    const auto until = std::chrono::steady_clock::now() + 30s;
    for (int i = 0; i < 8; ++i) {
      crowd.emplace_back([&] {
        while (settled < count && std::chrono::steady_clock::now() < until) {
          Delivery mine;
          {
            std::unique_lock lock(mutex);
            if (!arrived.wait_for(lock, 100ms, [&] { return !handed_over.empty(); })) continue;
            mine = std::move(handed_over.back());
            handed_over.pop_back();
          }
          if (mine.redelivered()) ++failed;
          try {
            mine.ack();
          } catch (const warren::Error&) {
            ++failed;
          }
          ++settled;
        }
      });
    }
    crowd.clear();
    CHECK(settled == count);
    CHECK(failed == 0);
    CHECK(consumer.status().subscribed);
  }
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Proxied, "manual: ack_up_to() settles a batch with one frame") {
  queue.fill(100);
  std::atomic<int> handled{0};
  Consumer consumer{connection, queue.name(), {.prefetch = 20, .ack_mode = AckMode::manual}};
  consumer.start([&](const Delivery& delivery) {
    if (++handled % 10 == 0) delivery.ack_up_to();
  });
  CHECK(eventually([&] { return handled == 100; }));
  consumer.stop();
  CHECK(queue.ready() == 0);
  CHECK(sent(method::basic_ack) == 10);
}

TEST_CASE_METHOD(Fixture,
                 "manual: what nobody settled goes back when the consumer stops, and can't be settled "
                 "any more") {
  queue.fill(4);
  std::vector<Delivery> kept;
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual, .drain_timeout = 100ms}};
  std::atomic<int> handled{0};
  consumer.start([&](const Delivery& delivery) {
    kept.push_back(delivery);
    if (delivery.body() == "1") delivery.ack();
    ++handled;
  });
  CHECK(eventually([&] { return handled == 4; }));
  CHECK(consumer.status().acked == 0);  // it counts what it acknowledged itself
  CHECK(queue.ready() == 0);
  CHECK_THROWS_AS(consumer.stop(), warren::TimeoutError);
  CHECK(queue.holds(3));
  CHECK_THROWS_AS(kept[0].ack(), warren::ChannelError);
  CHECK_THROWS_AS(kept[2].nack(warren::Requeue::no), warren::ChannelError);
  CHECK(queue.take_all() == std::multiset<std::string>{"0", "2", "3"});
}

TEST_CASE_METHOD(Proxied, "acknowledgements of a fast handler are merged") {
  constexpr std::uint32_t count = 200;
  queue.fill(count);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = count}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return consumer.status().waiting == count - 1; }));
  gate.open();  // from here on no handler waits, and none for the next message
  CHECK(eventually([&] { return consumer.status().acked == count; }));
  consumer.stop();
  CHECK(queue.ready() == 0);
  CHECK(sent(method::basic_ack) >= 1);
  CHECK(sent(method::basic_ack) <= count / 10);
}

TEST_CASE_METHOD(Proxied, "an acknowledgement never waits for the next handler to end") {
  queue.fill(2);
  proxy.forget_frames();
  Gate gate;
  std::atomic<std::chrono::steady_clock::time_point> returned{};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery& delivery) {
    if (delivery.body() == "1") return gate.pass();
    returned = std::chrono::steady_clock::now();
  });
  REQUIRE(eventually([&] { return gate.waiting() == 1 && sent(method::basic_ack) == 1; }));
  for (const Frame& frame : proxy.frames()) {
    if (frame.method != method::basic_ack) continue;
    CHECK(frame.delivery_tag == 1);
    CHECK(frame.time - returned.load() < slack);
  }
  gate.open();
  CHECK(eventually([&] { return sent(method::basic_ack) == 2; }));
}

TEST_CASE_METHOD(
    Proxied,
    "after a slow handler its acknowledgement goes out at once, and those behind it soon, whatever "
    "the next handler does") {
  queue.fill(3);
  proxy.forget_frames();
  Gate slow;
  Gate next;
  std::atomic<std::chrono::steady_clock::time_point> returned{};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery& delivery) {
    if (delivery.body() == "2") return next.pass();
    if (delivery.body() == "0") slow.pass();
    returned = std::chrono::steady_clock::now();
  });
  REQUIRE(eventually([&] { return slow.waiting() == 1; }));
  std::this_thread::sleep_for(100ms);  // so that nobody comes by any more to send what the arrival brought
  slow.open();
  REQUIRE(eventually([&] { return next.waiting() == 1; }));
  const auto last_acknowledged = [&] {
    std::uint64_t tag = 0;
    for (const Frame& frame : proxy.frames()) {
      if (frame.method == method::basic_ack) tag = std::max(tag, frame.delivery_tag);
    }
    return tag;
  };
  REQUIRE(eventually([&] { return last_acknowledged() == 2; }));
  for (const Frame& frame : proxy.frames()) {
    if (frame.method == method::basic_ack) CHECK(frame.time - returned.load() < slack);
  }
  next.open();
}

TEST_CASE_METHOD(Proxied, "a trickle of messages is acknowledged message by message, within 100 ms") {
  std::mutex mutex;
  std::vector<std::chrono::steady_clock::time_point> returned;
  Consumer consumer{connection, queue.name(), {.prefetch = 200}};
  consumer.start([&](const Delivery&) {
    const std::lock_guard lock(mutex);
    returned.push_back(std::chrono::steady_clock::now());
  });
  for (std::size_t i = 0; i < 20; ++i) {
    queue.put("m");
    REQUIRE(eventually([&] { return sent(method::basic_ack) == i + 1; }));
  }
  std::size_t at = 0;
  std::chrono::nanoseconds soonest = slack;
  for (const Frame& frame : proxy.frames()) {
    if (frame.method != method::basic_ack || frame.direction != Direction::to_broker) continue;
    REQUIRE(at < returned.size());
    CHECK(frame.delivery_tag == at + 1);
    CHECK(frame.time - returned[at] < slack);
    soonest = std::min<std::chrono::nanoseconds>(soonest, frame.time - returned[at++]);
  }
  CHECK(soonest < 100ms);  // the machine may hold up each, but not all
}
