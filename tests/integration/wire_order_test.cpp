#include <warren/warren.hpp>

#include <map>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::RetryPolicy;

namespace {

constexpr std::size_t consuming = 0;   // the proxy's link of the consumer's connection
constexpr std::size_t publishing = 1;  // of the one that it opens for copies

struct Fixture {
  TestQueue queue;
  TestQueue retry;
  TestQueue parked;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  RetryPolicy policy(std::uint32_t max_attempts) const {
    return RetryPolicy::to_queue(retry.name(), {.max_attempts = max_attempts, .parked_queue = parked.name()});
  }
  std::size_t count(std::uint32_t method, Direction direction, std::size_t link) const {
    return proxy.count([&](const Frame& frame) {
      return frame.method == method && frame.direction == direction && frame.link == link;
    });
  }
  std::size_t copies() const { return count(method::basic_publish, Direction::to_broker, publishing); }
  std::size_t confirms() const { return count(method::basic_ack, Direction::to_client, publishing); }
  std::size_t acknowledgements() const { return count(method::basic_ack, Direction::to_broker, consuming); }
};

// What the frames say of the promise: at each acknowledgement of originals as many copies must have been
// confirmed as originals are acknowledged by then.
struct Ledger {
  std::size_t acknowledged = 0;
  std::size_t confirmed = 0;
  std::size_t too_early = 0;

  explicit Ledger(const std::vector<Frame>& frames) {
    std::map<std::uint64_t, bool> originals;  // by delivery tag: acknowledged
    std::map<std::uint64_t, bool> copies;     // by publish number: confirmed
    const auto settle = [](std::map<std::uint64_t, bool>& all, const Frame& frame) {
      std::size_t count = 0;
      for (auto& [tag, settled] : all) {
        if (settled || (frame.multiple ? tag > frame.delivery_tag : tag != frame.delivery_tag)) continue;
        settled = true;
        ++count;
      }
      return count;
    };
    for (const Frame& frame : frames) {
      const bool to_client = frame.direction == Direction::to_client;
      if (frame.method == method::basic_deliver && frame.link == consuming) {
        originals[frame.delivery_tag] = false;
      } else if (frame.method == method::basic_publish && frame.link == publishing) {
        copies[copies.size() + 1] = false;
      } else if (frame.method == method::basic_ack && frame.link == publishing && to_client) {
        confirmed += settle(copies, frame);
      } else if (frame.method == method::basic_ack && frame.link == consuming && !to_client) {
        acknowledged += settle(originals, frame);
        if (acknowledged > confirmed) ++too_early;
      }
    }
  }
};

const auto fail = [](const Delivery&) { throw std::runtime_error("on purpose"); };

}  // namespace

TEST_CASE_METHOD(Fixture, "an original is acknowledged on the wire only after the confirm of its copy") {
  const std::size_t concurrency = GENERATE(std::size_t{1}, std::size_t{8});
  constexpr std::uint32_t count = 200;
  queue.fill(count);
  Consumer consumer{connection, queue.name(), {.concurrency = concurrency, .retry = policy(5)}};
  consumer.start(fail);
  CHECK(eventually([&] { return consumer.status().retried == count; }, 60s));
  consumer.stop();
  CHECK(proxy.links_seen() == 2);
  const Ledger ledger(proxy.frames());
  CHECK(ledger.acknowledged == count);
  CHECK(ledger.confirmed == count);
  CHECK(ledger.too_early == 0);
  CHECK(queue.ready() == 0);
  CHECK(retry.take_all() == numbered(count));
}

TEST_CASE_METHOD(Fixture, "so is a parked original: after the last attempt, and for a Park") {
  queue.fill(100);
  Consumer consumer{connection, queue.name(), {.concurrency = 4, .retry = policy(1)}};
  consumer.start([](const Delivery& delivery) {
    if (delivery.body().back() == '1') throw warren::Park("never");
    throw std::runtime_error("on purpose");
  });
  CHECK(eventually([&] { return consumer.status().parked == 100; }, 60s));
  consumer.stop();
  const Ledger ledger(proxy.frames());
  CHECK(ledger.acknowledged == 100);
  CHECK(ledger.confirmed == 100);
  CHECK(ledger.too_early == 0);
  CHECK(parked.take_all() == numbered(100));
}

TEST_CASE_METHOD(Fixture, "while a confirm is held back, so is the acknowledgement") {
  Consumer consumer{connection, queue.name(), {.concurrency = 2, .retry = policy(5)}};
  consumer.start(fail);
  queue.put("opens the connection for copies");
  REQUIRE(eventually([&] { return acknowledgements() == 1; }));
  REQUIRE(proxy.links() == 2);

  proxy.stall(Direction::to_client, publishing);
  queue.put("first");
  queue.put("second");
  // The broker has both copies, and has confirmed them; the client can't know.
  REQUIRE(retry.holds(3));
  CHECK(copies() == 3);
  CHECK(consumer.status().running == 2);
  CHECK(consumer.status().retried == 1);
  // The consumer's own link is alive: another consumer on the same connection gets its acknowledgement out.
  TestQueue other;
  Consumer beside{connection, other.name()};
  beside.start([](const Delivery&) {});
  other.put("m");
  REQUIRE(eventually([&] { return acknowledgements() == 2; }));
  CHECK(eventually([&] { return beside.status().acked == 1; }));
  CHECK(consumer.status().retried == 1);
  CHECK(confirms() == 1);

  proxy.resume();
  CHECK(eventually([&] { return consumer.status().retried == 3; }));
  consumer.stop();
  CHECK(queue.ready() == 0);
  CHECK(retry.ready() == 3);
}

TEST_CASE_METHOD(Fixture,
                 "where the link for copies is lost before the confirm, the original stays and a copy is "
                 "sent again") {
  Consumer consumer{connection, queue.name(), {.retry = policy(5)}};
  consumer.start(fail);
  queue.put("first");
  REQUIRE(eventually([&] { return acknowledgements() == 1; }));
  proxy.stall(Direction::to_client, publishing);
  queue.put("second");
  REQUIRE(retry.holds(2));
  CHECK(acknowledgements() == 1);
  proxy.cut(Proxy::End::reset, publishing);
  // Over a third link: nobody knew that the copy had arrived.
  CHECK(eventually([&] { return consumer.status().retried == 2; }));
  consumer.stop();
  CHECK(proxy.links_seen() == 3);
  CHECK(acknowledgements() == 2);
  CHECK(queue.ready() == 0);
  CHECK(retry.take_all() == std::multiset<std::string>{"first", "second", "second"});
}

TEST_CASE_METHOD(Fixture,
                 "a consumer that stops while a confirm is held back leaves the original in its queue") {
  Consumer consumer{connection, queue.name(), {.retry = policy(5)}};
  consumer.start(fail);
  queue.put("first");
  REQUIRE(eventually([&] { return acknowledgements() == 1; }));
  proxy.stall(Direction::to_client, publishing);
  queue.put("second");
  REQUIRE(retry.holds(2));
  CHECK(time_of([&] { consumer.stop(); }) < 5s);  // it waits for the confirm, but not for long
  CHECK(acknowledgements() == 1);
  CHECK(queue.holds(1));
  CHECK(queue.take().body() == "second");
  proxy.resume();  // or the destructor would wait for an answer on that link, up to close_timeout
}
