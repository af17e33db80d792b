#include <warren/warren.hpp>

#include <future>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::ChannelError;
using warren::Confirmation;
using warren::Connection;
using warren::ConnectionError;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;

namespace {

const std::string nowhere = "there-is-no-such-exchange";

struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = queue.name()}};

  std::size_t published() const {
    return proxy.count([](const Frame& frame) { return frame.method == method::basic_publish; });
  }
};

// A consumer that acknowledges all, on the connection of a publisher that is about to fail.
struct Consuming {
  TestQueue queue;
  warren::Consumer consumer;

  explicit Consuming(Connection& connection) : consumer(connection, queue.name()) {
    consumer.start([](const warren::Delivery&) {});
  }
  // Handles another message: true where nothing disturbed it.
  bool works() {
    const auto before = consumer.status().acked;
    queue.put("m");
    return eventually([&] { return consumer.status().acked == before + 1; }) && consumer.status().subscribed;
  }
};

}  // namespace

TEST_CASE("a full queue's reject-publish reaches the caller, and the publisher goes on") {
  const auto type = GENERATE(warren::QueueType::classic, warren::QueueType::quorum);
  TestQueue full({.type = type, .max_length = 2, .overflow = warren::Overflow::reject_publish});
  TestQueue other;
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = full.name()}};
  // A quorum queue learns with a delay that it is full.
  std::uint32_t taken = 0;
  const auto rejected = [&] {
    try {
      publisher.publish(Message("m"));
      ++taken;
      return false;
    } catch (const warren::NackedError& error) {
      CHECK(error.in_doubt());  // one of several queues may have taken it
      CHECK_FALSE(error.permanent());
      CHECK(error.scope() == warren::ErrorScope::operation);
      return true;
    }
  };
  REQUIRE(eventually(rejected));
  CHECK(taken >= 2);
  CHECK(full.holds(taken));
  Confirmation later = publisher.publish_async(Message("m"));
  CHECK_THROWS_AS(later.wait(), warren::NackedError);
  CHECK(later.outcome() == PublishOutcome::nacked);

  CHECK_NOTHROW(publisher.publish(Message("m"), {.routing_key = other.name()}));
  full.queue().purge();
  CHECK(eventually([&] { return !rejected(); }));
}

TEST_CASE_METHOD(Proxied, "404 on a publishing channel disturbs no consumer beside it") {
  Consuming consuming(connection);
  REQUIRE(consuming.works());
  for (int round = 0; round < 3; ++round) {
    const auto error = thrown<ChannelError>([&] { publisher.publish(Message("m"), {.exchange = nowhere}); });
    CHECK(error.code() == 404);
    CHECK(contains(error.text(), nowhere));
    CHECK(error.permanent());
    CHECK(error.scope() == warren::ErrorScope::channel);
    CHECK_FALSE(error.in_doubt());
    CHECK_NOTHROW(publisher.publish(Message("m")));
    CHECK(consuming.works());
  }
  CHECK(connection.is_open());
  CHECK(queue.ready() == 3);
}

TEST_CASE_METHOD(Proxied, "406 on a publishing channel disturbs no consumer beside it") {
  Consuming consuming(connection);
  const auto error =
      thrown<ChannelError>([&] { publisher.publish(Message("m", {.user_id = "somebody else"})); });
  CHECK(error.code() == 406);
  CHECK(contains(error.text(), "user_id"));
  CHECK(error.permanent());
  CHECK_FALSE(error.in_doubt());
  CHECK_NOTHROW(publisher.publish(Message("m")));
  CHECK(consuming.works());
}

TEST_CASE("403 on a publishing channel disturbs no consumer beside it") {
  const std::string user = unique_name("reader");
  const Broker& broker = shared_broker();
  broker.ctl({"add_user", user, "secret"});
  broker.ctl({"set_permissions", user, "", "^amq\\.default$", ".*"});
  {
    TestQueue queue;
    warren::Endpoint endpoint = broker.endpoint();
    endpoint.user = user;
    endpoint.password = "secret";
    Connection connection{endpoint, test_options()};
    Publisher publisher{connection, {.routing_key = queue.name()}};
    Consuming consuming(connection);
    const auto error =
        thrown<ChannelError>([&] { publisher.publish(Message("m"), {.exchange = "amq.topic"}); });
    CHECK(error.code() == 403);
    CHECK(contains(error.text(), "amq.topic"));
    CHECK(error.permanent());
    CHECK_FALSE(error.in_doubt());
    CHECK_NOTHROW(publisher.publish(Message("m")));
    CHECK(consuming.works());
    CHECK(queue.ready() == 1);
  }
  broker.ctl({"delete_user", user});
}

TEST_CASE_METHOD(Proxied,
                 "a channel that is closed over one of several messages in flight: that one is refused, the "
                 "others are sent again and confirmed") {
  proxy.stall(Direction::to_broker);
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 10; ++i) confirmations.push_back(publisher.publish_async(Message(std::to_string(i))));
  confirmations.push_back(publisher.publish_async(Message("m"), {.exchange = nowhere}));
  for (int i = 0; i < 10; ++i) confirmations.push_back(publisher.publish_async(Message("behind it")));
  proxy.resume();
  for (std::size_t i = 0; i < confirmations.size(); ++i) {
    Confirmation& each = confirmations[i];
    if (i != 10) {
      CHECK_NOTHROW(each.wait());
      continue;
    }
    const auto error = thrown<ChannelError>([&] { each.wait(); });
    CHECK(error.code() == 404);
    CHECK_FALSE(error.in_doubt());
    CHECK(each.outcome() == PublishOutcome::refused);
  }
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.publish(Message("10")));
  const auto all = queue.take_all();
  for (const std::string& body : numbered(11)) CHECK(all.count(body) >= 1);  // at least once
  CHECK(all.count("behind it") >= 10);
  CHECK(all.count("m") == 0);
}

TEST_CASE_METHOD(Proxied,
                 "a connection lost with publishes in flight: each ends as unknown, in doubt, at once") {
  const auto end = GENERATE(Proxy::End::reset, Proxy::End::fin);
  proxy.forget_frames();
  proxy.stall(Direction::to_client);
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 20; ++i) confirmations.push_back(publisher.publish_async(Message("m")));
  auto sync = std::async(std::launch::async, [&] {
    return thrown<ConnectionError>([&] { publisher.publish(Message("m")); }).details();
  });
  auto flush = std::async(std::launch::async, [&] {
    try {
      publisher.flush(20s);
    } catch (const ConnectionError&) {  // nobody dropped a Confirmation: it need not tell
    }
  });
  REQUIRE(eventually([&] { return published() == 21; }));
  CHECK(time_of([&] {
          proxy.cut(end);
          for (Confirmation& each : confirmations) {
            const auto error = thrown<ConnectionError>([&] { each.wait(); });
            CHECK(error.in_doubt());
            CHECK_FALSE(error.permanent());
            CHECK(error.scope() == warren::ErrorScope::connection);
            CHECK(each.outcome() == PublishOutcome::unknown);
          }
          CHECK(sync.get().in_doubt);
          flush.get();
        }) < 2 * slack);
  CHECK(publisher.in_flight() == 0);
  const auto later = thrown<ConnectionError>([&] { publisher.publish(Message("m")); });
  CHECK_FALSE(later.in_doubt());
}

TEST_CASE_METHOD(Proxied,
                 "a connection lost wakes those who wait for room; what was not sent is not in doubt") {
  Publisher narrow{connection, {.routing_key = queue.name(), .window = 1}};
  proxy.stall(Direction::to_client);
  Confirmation first = narrow.publish_async(Message("m"));
  std::vector<std::future<warren::ErrorDetails>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(std::async(std::launch::async, [&, i] {
      return thrown<ConnectionError>([&] {
               if (i % 2 == 0) {
                 narrow.publish(Message("m"));
               } else {
                 (void)narrow.publish_async(Message("m"));
               }
             })
          .details();
    }));
  }
  for (auto& each : waiting) CHECK(each.wait_for(50ms) == std::future_status::timeout);
  proxy.cut();
  for (auto& each : waiting) {
    REQUIRE(each.wait_for(10s) == std::future_status::ready);
    CHECK_FALSE(each.get().in_doubt);
  }
  CHECK_THROWS_AS(first.wait(), ConnectionError);
}

TEST_CASE_METHOD(Proxied, "publishing after Connection::close() is a ConnectionError, not in doubt") {
  publisher.publish(Message("m"));
  connection.close();
  for (const auto& error : {thrown<ConnectionError>([&] { publisher.publish(Message("m")); }),
                            thrown<ConnectionError>([&] { return publisher.publish_async(Message("m")); }),
                            thrown<ConnectionError>([&] { Publisher again(connection); })}) {
    CHECK_FALSE(error.in_doubt());
    CHECK(error.scope() == warren::ErrorScope::connection);
  }
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.flush(1s));
  CHECK_NOTHROW(publisher.close());
  CHECK(queue.ready() == 1);
}

TEST_CASE_METHOD(Proxied, "Connection::close() sends what was accepted, and leaves each with an outcome") {
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 100; ++i) confirmations.push_back(publisher.publish_async(Message("m")));
  connection.close();
  for (Confirmation& each : confirmations) {
    CHECK(each.outcome() != PublishOutcome::pending);
    if (each.outcome() != PublishOutcome::confirmed) {
      CHECK(thrown<ConnectionError>([&] { each.wait(); }).in_doubt());
    }
  }
  CHECK(published() == 100);
  CHECK(queue.holds(100));
}

TEST_CASE_METHOD(Proxied, "Publisher::close() leaves each with an outcome; what follows is a ChannelError") {
  proxy.stall(Direction::to_client);
  Confirmation open = publisher.publish_async(Message("m"));
  auto closing = std::async(std::launch::async, [&] { publisher.close(); });
  CHECK(closing.wait_for(100ms) == std::future_status::timeout);
  CHECK(open.outcome() == PublishOutcome::pending);
  proxy.resume();
  closing.get();
  CHECK(open.outcome() != PublishOutcome::pending);
  const auto error = thrown<ChannelError>([&] { publisher.publish(Message("m")); });
  CHECK_FALSE(error.in_doubt());
  CHECK_NOTHROW(publisher.close());
  CHECK(connection.is_open());
  CHECK(queue.ready() == 1);
}

TEST_CASE("a Confirmation outlives its Publisher and its Connection") {
  TestQueue queue;
  Proxy proxy(shared_broker().endpoint());
  auto connection = std::make_optional<Connection>(proxy.endpoint(), test_options());
  auto publisher =
      std::make_optional<Publisher>(*connection, warren::PublisherOptions{.routing_key = queue.name()});
  Confirmation settled = publisher->publish_async(Message("m"));
  settled.wait();
  proxy.stall(Direction::to_client);
  Confirmation open = publisher->publish_async(Message("m"));
  Confirmation dropped = publisher->publish_async(Message("m"));
  CHECK(time_of([&] { publisher.reset(); }) < slack);
  CHECK(open.outcome() == PublishOutcome::pending);
  CHECK_FALSE(open.wait_for(50ms));

  SECTION("the broker answers after all: confirmed ahead of the channel's end, or in doubt") {
    proxy.resume();
    REQUIRE(eventually([&] { return open.outcome() != PublishOutcome::pending; }));
    if (open.outcome() != PublishOutcome::confirmed) {
      CHECK(open.outcome() == PublishOutcome::unknown);
      CHECK(thrown<ChannelError>([&] { open.wait(); }).in_doubt());
    }
    connection.reset();
  }
  SECTION("the connection is lost") {
    proxy.cut();
    CHECK(thrown<ConnectionError>([&] { open.wait(); }).in_doubt());
    connection.reset();
  }
  SECTION("the connection is destroyed at once") {
    proxy.resume();
    connection.reset();
    CHECK(open.outcome() != PublishOutcome::pending);
  }
  CHECK(settled.outcome() == PublishOutcome::confirmed);
  dropped = Confirmation();
}
