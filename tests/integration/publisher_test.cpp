#include <warren/warren.hpp>

#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Confirmation;
using warren::Connection;
using warren::InvalidArgument;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;
using warren::ReturnedError;

namespace {

struct Fixture {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = queue.name(), .timeout = 30s}};
};

// The same by way of a proxy.
struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  std::size_t published() const {
    return proxy.count([](const Frame& frame) { return frame.method == method::basic_publish; });
  }
};

PublishOutcome settled(const Confirmation& confirmation) {
  REQUIRE(eventually([&] { return confirmation.outcome() != PublishOutcome::pending; }));
  return confirmation.outcome();
}

const std::string nowhere = "there-is-no-such-queue";

}  // namespace

TEST_CASE_METHOD(Fixture, "publish() returns once the broker has the message") {
  for (std::uint32_t i = 1; i <= 20; ++i) {
    publisher.publish(Message(std::to_string(i)));
    CHECK(publisher.in_flight() == 0);
    CHECK(queue.ready() == i);
  }
}

TEST_CASE_METHOD(Fixture, "publish() takes a literal, a string and a string_view for a message") {
  publisher.publish("literal");
  publisher.publish(std::string("string"));
  publisher.publish(std::string_view("view"), {.timeout = 30s});
  publisher.publish_async("later").wait();
  CHECK(queue.take_all() == std::multiset<std::string>{"literal", "string", "view", "later"});
}

TEST_CASE_METHOD(
    Fixture, "each publish ends in exactly one outcome, which stays: confirmed, returned, nacked, refused") {
  TestQueue full({.max_length = 1, .overflow = warren::Overflow::reject_publish});
  publisher.publish(Message("fills it"), {.routing_key = full.name()});

  for (int round = 0; round < 5; ++round) {
    const Message message("m");
    Confirmation taken = publisher.publish_async(message);
    Confirmation unroutable = publisher.publish_async(message, {.routing_key = nowhere});
    Confirmation rejected = publisher.publish_async(message, {.routing_key = full.name()});
    CHECK(settled(taken) == PublishOutcome::confirmed);
    CHECK(settled(unroutable) == PublishOutcome::returned);
    CHECK(settled(rejected) == PublishOutcome::nacked);
    publisher.flush(10s);  // nobody else is in flight when the channel closes
    Confirmation refused = publisher.publish_async(message, {.exchange = nowhere});
    CHECK(settled(refused) == PublishOutcome::refused);
    for (int again = 0; again < 2; ++again) {
      CHECK_NOTHROW(taken.wait());
      CHECK_THROWS_AS(unroutable.wait(), ReturnedError);
      CHECK_THROWS_AS(rejected.wait(), warren::NackedError);
      const auto error = thrown<warren::ChannelError>([&] { refused.wait(); });
      CHECK(error.code() == 404);
      CHECK_FALSE(error.in_doubt());
    }
    CHECK(taken.outcome() == PublishOutcome::confirmed);
    CHECK(unroutable.outcome() == PublishOutcome::returned);
    CHECK(rejected.outcome() == PublishOutcome::nacked);
    CHECK(refused.outcome() == PublishOutcome::refused);
  }
  CHECK(queue.ready() == 5);
}

TEST_CASE_METHOD(Fixture, "numbers restart with each channel: outcomes stay with their messages") {
  for (int round = 0; round < 5; ++round) {
    std::vector<Confirmation> odd;
    std::vector<Confirmation> even;
    for (int i = 0; i < 10 + round; ++i) {
      even.push_back(publisher.publish_async(Message("even")));
      odd.push_back(publisher.publish_async(Message("odd"), {.routing_key = nowhere}));
    }
    for (const Confirmation& each : even) CHECK(settled(each) == PublishOutcome::confirmed);
    for (const Confirmation& each : odd) CHECK(settled(each) == PublishOutcome::returned);
    // Closes the channel; the next publish opens another one.
    CHECK_THROWS_AS(publisher.publish(Message("m"), {.exchange = nowhere}), warren::ChannelError);
  }
  CHECK(queue.ready() == 10 + 11 + 12 + 13 + 14);
}

TEST_CASE_METHOD(Fixture, "many publishes out of many threads: all confirmed, each in the queue once") {
  constexpr int threads = 8;
  constexpr int each = 500;
  std::atomic<int> confirmed{0};
  {
    std::vector<std::jthread> crowd;
    for (int thread = 0; thread < threads; ++thread) {
      crowd.emplace_back([&, thread] {
        std::vector<Confirmation> confirmations;
        for (int i = 0; i < each; ++i) {
          const Message message(std::to_string(thread * each + i));
          if (i % 10 == 0) {
            publisher.publish(message);
            ++confirmed;
          } else {
            confirmations.push_back(publisher.publish_async(message));
          }
        }
        for (Confirmation& confirmation : confirmations) {
          confirmation.wait();
          ++confirmed;
        }
      });
    }
  }
  CHECK(confirmed == threads * each);
  CHECK(queue.ready() == threads * each);
  CHECK(queue.take_all() == numbered(threads * each));
}

TEST_CASE_METHOD(Proxied, "a return is a failure although an ack follows it") {
  Publisher publisher{connection, {.exchange = "amq.direct", .routing_key = nowhere}};
  proxy.forget_frames();
  const auto error = thrown<ReturnedError>([&] { publisher.publish(Message("m")); });
  CHECK(error.code() == 312);
  CHECK(contains(error.text(), "amq.direct"));
  CHECK(contains(error.text(), nowhere));
  CHECK_FALSE(error.in_doubt());
  CHECK(error.scope() == warren::ErrorScope::operation);
  // The broker did confirm it.
  std::vector<std::uint32_t> said;
  for (const Frame& frame : proxy.frames()) {
    if (frame.type == 1 && frame.direction == Direction::to_client) said.push_back(frame.method);
  }
  CHECK(said == std::vector<std::uint32_t>{method::basic_return, method::basic_ack});
  CHECK_NOTHROW(publisher.publish(Message("m"), {.exchange = "", .routing_key = queue.name()}));
}

TEST_CASE_METHOD(Fixture,
                 "identical messages with one key through two exchanges, one without a queue: only the "
                 "latter's return") {
  const std::string key = queue.name();
  queue.queue().bind("amq.direct", key);
  std::vector<Confirmation> routable;
  std::vector<Confirmation> unroutable;
  const Message message("the same");
  for (int i = 0; i < 100; ++i) {
    routable.push_back(publisher.publish_async(message, {.exchange = "amq.direct"}));
    unroutable.push_back(publisher.publish_async(message, {.exchange = "amq.topic"}));
  }
  for (Confirmation& each : routable) CHECK_NOTHROW(each.wait());
  for (Confirmation& each : unroutable) CHECK_THROWS_AS(each.wait(), ReturnedError);
  CHECK(queue.ready() == 100);
}

TEST_CASE_METHOD(Proxied,
                 "identical messages to one exchange with one key, unbound only for the second: a return is "
                 "matched by its stamp") {
  const std::string key = unique_name("key");
  Publisher publisher{connection, {.exchange = "amq.direct", .routing_key = key}};
  queue.queue().bind("amq.direct", key);
  proxy.stall(Direction::to_client);
  const Message message("the same");
  Confirmation first = publisher.publish_async(message);
  REQUIRE(queue.holds(1));
  queue.queue().unbind("amq.direct", key);
  Confirmation second = publisher.publish_async(message);
  // Comes after it on the same channel: once it is in the queue, the second has been routed, too.
  Confirmation mark = publisher.publish_async(message, {.exchange = "", .routing_key = queue.name()});
  REQUIRE(queue.holds(2));
  queue.queue().bind("amq.direct", key);
  Confirmation third = publisher.publish_async(message);
  REQUIRE(queue.holds(3));
  CHECK(publisher.in_flight() == 4);
  proxy.resume();
  CHECK(settled(first) == PublishOutcome::confirmed);
  CHECK(settled(second) == PublishOutcome::returned);
  CHECK(settled(mark) == PublishOutcome::confirmed);
  CHECK(settled(third) == PublishOutcome::confirmed);
}

TEST_CASE_METHOD(Fixture, "routable and unroutable publishes of many threads never mix up") {
  constexpr int threads = 8;
  constexpr int each = 100;
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> crowd;
    for (int thread = 0; thread < threads; ++thread) {
      crowd.emplace_back([&, thread] {
        for (int i = 0; i < each; ++i) {
          const bool routable = (thread + i) % 2 == 0;
          bool returned = false;
          try {
            publisher.publish(Message("the same"),
                              {.routing_key = routable ? queue.name() : std::string_view(nowhere)});
          } catch (const ReturnedError&) {
            returned = true;
          }
          if (returned == routable) ++wrong;
        }
      });
    }
  }
  CHECK(wrong == 0);
  CHECK(queue.ready() == threads * each / 2);
}

TEST_CASE("without mandatory the broker confirms what no queue is bound for") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = nowhere, .mandatory = false}};
  CHECK_NOTHROW(publisher.publish(Message("dropped")));
  Confirmation later = publisher.publish_async(Message("dropped"));
  CHECK(settled(later) == PublishOutcome::confirmed);
}

TEST_CASE_METHOD(Fixture, "messages are persistent unless their properties say otherwise") {
  publisher.publish(Message("silent"));
  publisher.publish(Message("transient", {.delivery_mode = warren::DeliveryMode::transient}));
  publisher.publish(Message("persistent", {.delivery_mode = warren::DeliveryMode::persistent}));
  CHECK(queue.take().properties().delivery_mode == warren::DeliveryMode::persistent);
  CHECK(queue.take().properties().delivery_mode == warren::DeliveryMode::transient);
  CHECK(queue.take().properties().delivery_mode == warren::DeliveryMode::persistent);
}

TEST_CASE_METHOD(Fixture, "receivers never see warren-stamp, and all other headers as they were sent") {
  const warren::Properties properties{.headers = {{"tenant", 7}, {"trace", "abc"}}};
  const auto publish = [&] {
    publisher.publish(Message("with", properties));
    publisher.publish(Message("without"));
  };
  publish();
  CHECK(queue.take().headers() == properties.headers);
  CHECK(queue.take().headers().empty());

  publish();
  std::vector<warren::FieldTable> seen;
  std::stop_source stop;
  warren::Consumer consumer{connection, queue.name()};
  consumer.run(
      [&](const warren::Delivery& delivery) {
        seen.push_back(delivery.headers());
        if (seen.size() == 2) stop.request_stop();
      },
      stop.get_token());
  REQUIRE(seen.size() == 2);
  CHECK(seen[0] == properties.headers);
  CHECK(seen[1].empty());
}

TEST_CASE_METHOD(Fixture, "a publisher's options that can't be right are InvalidArgument at once") {
  const std::string too_long(256, 'x');
  CHECK_THROWS_AS(Publisher(connection, {.window = 0}), InvalidArgument);
  CHECK_THROWS_AS(Publisher(connection, {.window_bytes = 0}), InvalidArgument);
  CHECK_THROWS_AS(Publisher(connection, {.timeout = 0ms}), InvalidArgument);
  CHECK_THROWS_AS(Publisher(connection, {.timeout = -1ms}), InvalidArgument);
  CHECK_THROWS_AS(Publisher(connection, {.exchange = too_long}), InvalidArgument);
  CHECK_THROWS_AS(Publisher(connection, {.routing_key = too_long}), InvalidArgument);
  CHECK_NOTHROW(publisher.publish(Message("m")));
}

TEST_CASE_METHOD(
    Proxied, "arguments that can never work are InvalidArgument, nothing is sent, the publisher works on") {
  Publisher publisher{connection, {.routing_key = queue.name()}};
  const std::string too_long(256, 'x');
  const auto refused = [&](const Message& message, const warren::PublishOptions& options = {}) {
    const std::size_t before = published();
    for (const auto& error :
         {thrown<InvalidArgument>([&] { publisher.publish(message, options); }),
          thrown<InvalidArgument>([&] { (void)publisher.publish_async(message, options); })}) {
      CHECK(error.permanent());
      CHECK_FALSE(error.in_doubt());
      CHECK(error.scope() == warren::ErrorScope::operation);
    }
    CHECK(publisher.in_flight() == 0);
    publisher.publish(Message("m"));
    CHECK(published() == before + 1);
  };
  refused(Message("m"), {.routing_key = too_long});
  refused(Message("m"), {.exchange = too_long});
  refused(Message("m"), {.timeout = 0ms});
  refused(Message("m"), {.timeout = -1s});
  refused(Message("m", {.correlation_id = too_long}));
  refused(Message("m", {.headers = {{"big", std::string(200'000, 'x')}}}));
  refused(Message("m", {.headers = {{too_long, 1}}}));
  CHECK(queue.ready() == 7);
}
