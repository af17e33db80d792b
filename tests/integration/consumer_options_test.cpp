#include <warren/warren.hpp>

#include <mutex>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::ChannelError;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::InvalidArgument;

namespace {

using Fixture = ConnectedQueue;

}  // namespace

TEST_CASE_METHOD(Fixture, "an exclusive consumer is the only one: 403 for the second, the first works on") {
  Consumer first{connection, queue.name(), {.exclusive = true}};
  first.start([](const Delivery&) {});
  Consumer second{connection, queue.name()};
  CHECK(thrown<ChannelError>([&] { second.start([](const Delivery&) {}); }).code() == 403);
  const auto by_run = thrown<ChannelError>([&] { second.run([](const Delivery&) {}); });
  CHECK(by_run.code() == 403);
  CHECK(by_run.permanent());
  CHECK(by_run.scope() == warren::ErrorScope::channel);
  CHECK(contains(by_run.operation(), queue.name()));
  CHECK_NOTHROW(second.stop());
  CHECK_FALSE(second.status().subscribed);

  for (int i = 0; i < 10; ++i) queue.put("m");
  CHECK(eventually([&] { return first.status().acked == 10; }));
  first.stop();
  CHECK_NOTHROW(second.start([](const Delivery&) {}));
  queue.put("m");
  CHECK(eventually([&] { return second.status().acked == 1; }));
}

TEST_CASE_METHOD(Fixture, "the consumer of the higher priority gets what it has room for (x-priority)") {
  Gate gate;
  const auto wait = [&](const Delivery&) { gate.pass(); };
  Consumer low{connection, queue.name(), {.priority = 1}};
  Consumer high{connection, queue.name(), {.prefetch = 8, .priority = 10}};
  low.start(wait);
  high.start(wait);
  for (int i = 0; i < 10; ++i) queue.put("m");
  const auto holds = [](const Consumer& consumer) {
    const auto status = consumer.status();
    return status.waiting + status.running;
  };
  CHECK(eventually([&] { return holds(high) == 8 && holds(low) == 2; }));
  gate.open();
  CHECK(eventually([&] { return high.status().acked + low.status().acked == 10; }));
  CHECK(high.status().acked >= 8);
}

TEST_CASE_METHOD(Fixture, "the consumer tag is the one asked for; else the broker chooses one") {
  std::mutex mutex;
  std::string seen;
  const auto note = [&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    seen = delivery.consumer_tag();
  };
  for (const std::string tag : {"a tag of ours", ""}) {
    Consumer consumer{connection, queue.name(), {.consumer_tag = tag}};
    consumer.start(note);
    queue.put("m");
    CHECK(eventually([&] { return consumer.status().acked == 1; }));
    consumer.stop();
    CHECK((tag.empty() ? contains(seen, "amq.ctag") : seen == tag));
  }
}

TEST_CASE("a stream is read from its first message, as often as one likes (x-stream-offset)") {
  TestQueue stream({.type = warren::QueueType::stream});
  for (int i = 0; i < 20; ++i) stream.put(std::to_string(i));
  Connection connection{shared_broker().endpoint(), test_options()};
  for (int round = 0; round < 2; ++round) {
    Consumer consumer{
        connection, stream.name(), {.prefetch = 5, .arguments = {{"x-stream-offset", "first"}}}};
    std::vector<std::string> bodies;
    std::vector<std::int64_t> offsets;
    std::stop_source stop;
    consumer.run(
        [&](const Delivery& delivery) {
          bodies.emplace_back(delivery.body());
          const warren::FieldValue* offset = delivery.headers().find("x-stream-offset");
          offsets.push_back(offset == nullptr ? -1 : offset->as_integer().value_or(-1));
          if (bodies.size() == 20) stop.request_stop();
        },
        stop.get_token());
    REQUIRE(bodies.size() == 20);
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      CHECK(bodies[i] == std::to_string(i));
      CHECK(offsets[i] == static_cast<std::int64_t>(i));
    }
  }
}

TEST_CASE_METHOD(Fixture, "a consumer's options that can't be right are InvalidArgument at once") {
  const std::string too_long(256, 'x');
  CHECK_THROWS_AS(Consumer(connection, ""), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, too_long), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, queue.name(), {.prefetch = 0}), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, queue.name(), {.concurrency = 0}), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, queue.name(), {.consumer_tag = too_long}), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, queue.name(), {.drain_timeout = -1ms}), InvalidArgument);
  CHECK_THROWS_AS(Consumer(connection, queue.name(), {.stop_within = -1ms}), InvalidArgument);
  // Arguments are looked at when they are sent.
  Consumer consumer{connection, queue.name(), {.arguments = {{too_long, 1}}}};
  CHECK_THROWS_AS(consumer.run([](const Delivery&) {}), InvalidArgument);
  CHECK(connection.is_open());
  CHECK(queue.consumers() == 0);
}

TEST_CASE_METHOD(Fixture, "arguments that the broker refuses end run() with its words") {
  Consumer consumer{connection, queue.name(), {.arguments = {{"x-priority", "high"}}}};
  const auto error = thrown<ChannelError>([&] { consumer.run([](const Delivery&) {}); });
  CHECK(error.code() == 406);
  CHECK(contains(error.text(), "x-priority"));
  CHECK(error.permanent());
  CHECK(connection.is_open());
}
