#include <warren/warren.hpp>

#include <future>
#include <mutex>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::BlockedError;
using warren::Confirmation;
using warren::Connection;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;

namespace {

// What a connection told of its being blocked.
class States {
 public:
  warren::ConnectionOptions listen(warren::ConnectionOptions options) {
    options.on_state = [this](const warren::StateEvent& event) {
      const std::lock_guard lock(mutex_);
      blocked_.push_back(event.blocked.has_value());
    };
    return options;
  }
  bool last_is(bool blocked) const {
    const std::lock_guard lock(mutex_);
    return !blocked_.empty() && blocked_.back() == blocked;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<bool> blocked_;
};

}  // namespace

TEST_CASE("a memory alarm blocks publishers within their deadlines, and nobody else") {
  PrivateBroker broker;
  TestQueue queue({}, broker);
  TestQueue consumed({}, broker);
  States states;
  Connection connection{broker.endpoint(), states.listen(test_options())};
  Publisher publisher{connection, {.routing_key = queue.name()}};
  Publisher narrow{connection, {.routing_key = queue.name(), .window = 1}};
  publisher.publish(Message("before"));
  consumed.fill(100);

  // A slow consumer on another connection, in the midst of its work when the alarm begins.
  Connection consuming{broker.endpoint(), test_options()};
  warren::Consumer consumer{consuming, consumed.name(), {.prefetch = 4}};
  Gate gate;
  consumer.start([&](const warren::Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return consumer.status().running == 1; }));

  broker.begin_memory_alarm();

  // The first is sent, and is what the broker answers by blocking: in doubt.
  const auto publish_2s = [&] { publisher.publish(Message("blocked"), {.timeout = 2s}); };
  std::optional<BlockedError> first;
  const auto first_took = time_of([&] { first = thrown<BlockedError>(publish_2s); });
  CHECK(first_took >= 2s);
  CHECK(first_took < 2s + slack);
  CHECK(first->in_doubt());
  CHECK(contains(first->what(), "block"));
  CHECK(contains(first->text(), "memory"));
  REQUIRE(connection.blocked().has_value());
  CHECK(contains(*connection.blocked(), "memory"));
  CHECK(eventually([&] { return states.last_is(true); }));
  CHECK(connection.is_open());

  // From then on nothing is sent.
  for (int i = 0; i < 2; ++i) {
    std::optional<BlockedError> later;
    const auto took = time_of([&] { later = thrown<BlockedError>(publish_2s); });
    CHECK(took >= 2s);
    CHECK(took < 2s + slack);
    CHECK_FALSE(later->in_doubt());
    CHECK(contains(later->what(), "block"));
    CHECK_FALSE(later->permanent());
  }
  CHECK_THROWS_AS(publisher.publish_async(Message("blocked"), {.timeout = 100ms}), BlockedError);
  // The first one's caller knows that it is in doubt: nothing is open, though it may still be confirmed.
  CHECK_NOTHROW(publisher.flush(100ms));
  CHECK(publisher.in_flight() == 0);

  // The consumer on its own connection acknowledges all the same.
  CHECK_FALSE(consuming.blocked().has_value());
  gate.open();
  CHECK(eventually([&] { return consumer.status().acked == 100; }));
  CHECK(eventually([&] {
    const auto rows = broker.list({"list_queues", "name", "messages"});
    return std::find(rows.begin(), rows.end(), std::vector<std::string>{consumed.name(), "0"}) != rows.end();
  }));

  // Those who wait when the alarm ends are let go.
  auto waiting = std::async(std::launch::async, [&] { publisher.publish(Message("waited")); });
  auto waiting_narrow =
      std::async(std::launch::async, [&] { return narrow.publish_async(Message("waited")); });
  CHECK(waiting.wait_for(200ms) == std::future_status::timeout);
  broker.end_memory_alarm();
  CHECK_NOTHROW(waiting.get());
  CHECK_NOTHROW(waiting_narrow.get().wait());
  CHECK_FALSE(connection.blocked().has_value());
  CHECK(eventually([&] { return states.last_is(false); }));
  CHECK_NOTHROW(publisher.publish(Message("after")));
  CHECK_NOTHROW(publisher.flush(30s));
  // What was in doubt came through; what was not sent never did.
  CHECK(queue.take_all() == std::multiset<std::string>{"before", "blocked", "waited", "waited", "after"});
}

TEST_CASE("under a memory alarm destructors and close() are bounded by close_timeout") {
  PrivateBroker broker;
  TestQueue queue({}, broker);
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 4s;
  auto connection = std::make_optional<Connection>(broker.endpoint(), options);
  auto publisher =
      std::make_optional<Publisher>(*connection, warren::PublisherOptions{.routing_key = queue.name()});
  publisher->publish(Message("before"));
  broker.begin_memory_alarm();
  Confirmation open = publisher->publish_async(Message("blocked"));
  REQUIRE(eventually([&] { return connection->blocked().has_value(); }));
  auto waiting = std::async(std::launch::async, [&] {
    return thrown<warren::Error>([&] { publisher->publish(Message("waits")); }).details();
  });
  CHECK(waiting.wait_for(200ms) == std::future_status::timeout);

  SECTION("Connection::close(), with a publish that waits") {
    CHECK(time_of([&] { connection->close(); }) < 4s + slack);
    REQUIRE(waiting.wait_for(slack) == std::future_status::ready);
    CHECK_FALSE(waiting.get().in_doubt);
    CHECK(thrown<warren::ConnectionError>([&] { open.wait(); }).in_doubt());
    CHECK(open.outcome() == PublishOutcome::unknown);
    CHECK(time_of([&] { publisher.reset(); }) < 2s);
  }
  SECTION("Connection's destructor") {
    CHECK(time_of([&] { connection.reset(); }) < 4s + slack);
    REQUIRE(waiting.wait_for(slack) == std::future_status::ready);
    CHECK(thrown<warren::ConnectionError>([&] { open.wait(); }).in_doubt());
    CHECK(time_of([&] { publisher.reset(); }) < 2s);
  }
}
