#include <warren/warren.hpp>

#include <future>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::AckMode;
using warren::ChannelError;
using warren::Connection;
using warren::ConnectionError;
using warren::Consumer;
using warren::ConsumerCancelledError;
using warren::Delivery;
using warren::Outcome;

namespace {

using Fixture = ConnectedQueue;

struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};
};

// An exception that is told apart from any copy or translation of it.
struct Own : std::runtime_error {
  explicit Own(int value) : std::runtime_error("says the test"), number(value) {}
  int number;
};

const auto nothing = [](const Delivery&) {};

// What ends a consumer that was started, within ten seconds.
template <typename E>
E ending(Consumer& consumer) {
  return thrown<E>([&] { return consumer.wait_for(10s); });
}

}  // namespace

TEST_CASE_METHOD(Fixture,
                 "without a policy an exception ends run() as it is, its message is back, nothing spins") {
  const auto ack_mode = GENERATE(AckMode::after_handler, AckMode::manual);
  queue.fill(5);
  std::atomic<int> runs{0};
  Consumer consumer{connection, queue.name(), {.ack_mode = ack_mode}};
  const auto settle = [&](const Delivery& delivery) {
    if (ack_mode == AckMode::manual) delivery.ack();
  };
  SECTION("of a class of one's own") {
    const auto error = thrown<Own>([&] {
      consumer.run([&](const Delivery& delivery) {
        ++runs;
        if (delivery.body() == "2") throw Own(42);
        settle(delivery);
      });
    });
    CHECK(error.number == 42);
  }
  SECTION("of no class") {
    CHECK(thrown<int>([&] {
            consumer.run([&](const Delivery& delivery) {
              ++runs;
              if (delivery.body() == "2") throw 42;
              settle(delivery);
            });
          }) == 42);
  }
  SECTION("by wait(), once") {
    consumer.start([&](const Delivery& delivery) {
      ++runs;
      if (delivery.body() == "2") throw Own(42);
      settle(delivery);
    });
    CHECK(thrown<Own>([&] { consumer.wait(); }).number == 42);
    CHECK_NOTHROW(consumer.wait());
    CHECK_NOTHROW(consumer.stop());
  }
  CHECK(runs == 3);
  CHECK(queue.holds(3));
  CHECK(queue.consumers() == 0);
  CHECK(connection.is_open());
  // The same message comes again, as redelivered.
  const Delivery again = queue.take();
  CHECK(again.body() == "2");
  CHECK(again.redelivered());
}

TEST_CASE_METHOD(Fixture,
                 "without a policy Park, Outcome::park and Outcome::retry end run(), too: nothing "
                 "is dropped") {
  queue.fill(1);
  Consumer consumer{connection, queue.name()};
  SECTION("Park") {
    const auto error = thrown<warren::Park>(
        [&] { consumer.run([](const Delivery&) { throw warren::Park("never this one"); }); });
    CHECK(std::string(error.what()) == "never this one");
  }
  SECTION("Outcome::park") {
    CHECK_THROWS_AS(consumer.run([](const Delivery&) { return Outcome::park; }), warren::Park);
  }
  SECTION("Outcome::retry") {
    const auto error =
        thrown<warren::Error>([&] { consumer.run([](const Delivery&) { return Outcome::retry; }); });
    CHECK(contains(error.what(), queue.name()));
    CHECK(contains(error.what(), "Outcome::retry"));
  }
  CHECK(queue.holds(1));
}

TEST_CASE_METHOD(Fixture,
                 "of several handlers that fail at once one exception is told, and every message is "
                 "back") {
  queue.fill(50);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.concurrency = 4}};
  consumer.start([&](const Delivery&) {
    gate.pass();
    throw Own(7);
  });
  REQUIRE(eventually([&] { return gate.waiting() == 4; }));
  gate.open();
  CHECK(ending<Own>(consumer).number == 7);
  CHECK(queue.holds(50));
  CHECK(queue.take_all() == numbered(50));
}

TEST_CASE_METHOD(Fixture,
                 "manual: an exception after the message was settled ends run(); the message is gone") {
  queue.fill(1);
  Consumer consumer{connection, queue.name(), {.ack_mode = AckMode::manual}};
  CHECK_THROWS_AS(consumer.run([](const Delivery& delivery) {
    delivery.ack();
    throw Own(1);
  }),
                  Own);
  CHECK(connection.is_open());
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Fixture, "a consumer of a missing queue ends with 404, and its connection lives") {
  Consumer consumer{connection, "there-is-no-such-queue"};
  for (const auto& error : {thrown<ChannelError>([&] { consumer.start(nothing); }),
                            thrown<ChannelError>([&] { consumer.run(nothing); })}) {
    CHECK(error.code() == 404);
    CHECK(error.permanent());
    CHECK(error.scope() == warren::ErrorScope::channel);
    CHECK(contains(error.what(), "there-is-no-such-queue"));
  }
  CHECK_NOTHROW(consumer.stop());
  CHECK(consumer.wait_for(0ms));
  CHECK(connection.is_open());
  CHECK(connection.open_channel().number() == 1);  // nothing stays open
}

TEST_CASE_METHOD(Fixture, "a queue that is deleted ends its consumer with ConsumerCancelledError, soon") {
  queue.fill(3);
  std::atomic<int> handled{0};
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = 1}};
  consumer.start([&](const Delivery&) {
    ++handled;
    gate.pass();
  });
  SECTION("while it is idle") {
    gate.open();
    REQUIRE(eventually([&] { return consumer.status().acked == 3; }));
    queue.queue().remove();
  }
  SECTION("while a handler runs, which may end") {
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    queue.queue().remove();
    REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
    gate.open();
    CHECK(handled == 1);
  }
  const auto error = ending<ConsumerCancelledError>(consumer);
  CHECK(error.code() == 404);
  CHECK(contains(error.text(), queue.name()));
  CHECK_FALSE(consumer.status().subscribed);
  CHECK(connection.is_open());
}

TEST_CASE_METHOD(Proxied,
                 "a subscription that the broker cancels is renewed where the queue is there again") {
  Consumer consumer{connection, queue.name()};
  consumer.start(nothing);
  queue.put("before");
  REQUIRE(eventually([&] { return consumer.status().acked == 1; }));
  Connection beside{shared_broker().endpoint(), test_options()};
  for (std::uint64_t round = 1; round <= 3; ++round) {
    // Its basic.cancel arrives only once there is a queue again.
    proxy.stall(Direction::to_client);
    queue.queue().remove();
    beside.open_channel().declare_queue(queue.name());
    proxy.resume();
    queue.put("after");
    CHECK(eventually([&] { return consumer.status().acked == 1 + round; }));
  }
  CHECK(consumer.status().subscribed);
  CHECK(queue.consumers() == 1);
  CHECK_FALSE(consumer.wait_for(0ms));
}

TEST_CASE_METHOD(Proxied,
                 "a lost connection ends run() with ConnectionError; outcomes that come later are stale") {
  const auto end = GENERATE(Proxy::End::reset, Proxy::End::fin);
  queue.fill(10);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = 5, .concurrency = 3}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 3; }));
  proxy.cut(end);
  CHECK(eventually([&] { return !consumer.status().subscribed; }));
  CHECK(queue.holds(10));               // the broker has all of them again
  CHECK_FALSE(consumer.wait_for(0ms));  // handlers may end
  gate.open();
  const auto error = ending<ConnectionError>(consumer);
  CHECK(error.scope() == warren::ErrorScope::connection);
  CHECK_FALSE(error.permanent());
  const auto status = consumer.status();
  CHECK(status.stale == 3);
  CHECK(status.acked == 0);
  CHECK(status.waiting == 0);
  CHECK(queue.take_all() == numbered(10));
  // A connection of its own does not come back: running again says so, at once.
  CHECK_THROWS_AS(consumer.run(nothing), ConnectionError);
}

TEST_CASE_METHOD(Fixture, "Connection::close() ends run() with ConnectionError") {
  queue.fill(10);
  Consumer consumer{connection, queue.name()};
  consumer.start(nothing);
  REQUIRE(eventually([&] { return consumer.status().acked == 10; }));
  connection.close();
  CHECK_FALSE(ending<ConnectionError>(consumer).in_doubt());
  CHECK(queue.holds(0));  // what was acknowledged reached the broker
}

TEST_CASE_METHOD(Fixture, "manual: a delivery whose connection was lost can't be settled") {
  Proxy proxy(shared_broker().endpoint());
  Connection lost{proxy.endpoint(), test_options()};
  queue.fill(1);
  std::promise<Delivery> handed_over;
  Consumer consumer{lost, queue.name(), {.ack_mode = AckMode::manual}};
  consumer.start([&](const Delivery& delivery) { handed_over.set_value(delivery); });
  const Delivery delivery = handed_over.get_future().get();
  proxy.cut();
  CHECK_THROWS_AS(consumer.wait(), ConnectionError);
  CHECK_THROWS_AS(delivery.ack(), ConnectionError);
  CHECK_THROWS_AS(delivery.nack(warren::Requeue::yes), ConnectionError);
  CHECK(queue.holds(1));
}

TEST_CASE(
    "an acknowledgement timeout closes the channel: the cause is logged, and the consumer subscribes "
    "again") {
  // The broker looks for overdue acknowledgements once a tick, each minute unless told otherwise.
  PrivateBroker broker("consumer_timeout = 1000");
  // From 4.3 on it is quorum queues' alone, and a basic.cancel: consumer_timeout_test.
  const bool cancels = broker.version() >= std::pair(4, 3);
  broker.ctl({"eval", "application:set_env(rabbit, channel_tick_interval, 500)."});
  warren::QueueOptions of_queue;
  if (cancels) of_queue.type = warren::QueueType::quorum;
  TestQueue queue(of_queue, broker);
  LogLines log;
  warren::ConnectionOptions options = test_options();
  options.on_log = [&](const warren::LogEvent& event) { log.add(event.text); };
  Connection connection{broker.endpoint(), options};
  queue.fill(2);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.prefetch = 1}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  REQUIRE(
      eventually([&] { return log.has(cancels ? "consumer timeout" : "delivery acknowledgement"); }, 30s));
  CHECK(eventually([&] { return consumer.status().subscribed && queue.consumers() == 1; }));
  CHECK(consumer.status().acked == 0);
  // The outcome of the handler that took too long goes nowhere; its message comes again.
  gate.open();
  CHECK(eventually([&] { return consumer.status().acked == 2; }));
  CHECK(consumer.status().stale >= 1);
  consumer.stop();
  CHECK(queue.ready() == 0);
  CHECK(connection.is_open());
}
