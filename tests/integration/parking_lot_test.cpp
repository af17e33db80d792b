#include <warren/warren.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::FieldTable;
using warren::Message;
using warren::ParkedMessage;
using warren::ParkedResult;
using warren::ParkingLot;
using warren::Publisher;

namespace {

struct Fixture {
  TestQueue orders;
  TestQueue parked;
  Connection connection{shared_broker().endpoint(), test_options()};
  ParkingLot lot{connection, parked.name(), {.allowed_queues = {orders.name()}}};

  // As the copies of a policy that parked them.
  void park(const std::string& body, const std::string& reason = "max-attempts",
            const std::string& queue = {}) {
    FieldTable headers{{"retry-attempt", 5},
                       {"retry-reason", reason},
                       {"retry-last-failure-at", std::int64_t{1'700'000'000'000}},
                       {"retry-original-queue", queue.empty() ? orders.name() : queue}};
    Publisher(connection, {.routing_key = parked.name()})
        .publish(Message(body, {.headers = std::move(headers)}));
  }
  void park_all(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) park(std::to_string(i));
  }
  std::vector<std::string> bodies() {
    std::vector<std::string> found;
    lot.inspect([&](const ParkedMessage& each) { found.emplace_back(each.message.body()); });
    return found;
  }
};

std::vector<std::string> in_order(std::uint32_t count) {
  std::vector<std::string> bodies;
  for (std::uint32_t i = 0; i < count; ++i) bodies.push_back(std::to_string(i));
  return bodies;
}

// A proxy in front of the lot's connection, and nothing else's.
struct Proxied : Fixture {
  Proxy proxy{shared_broker().endpoint()};
  Connection through{proxy.endpoint(), [] {
                       warren::ConnectionOptions options = test_options();
                       options.operation_timeout = 2s;
                       return options;
                     }()};
  ParkingLot lot_through{through, parked.name(), {.allowed_queues = {orders.name()}}};

  // Each message is in one of the queues, perhaps in both.
  bool has_all(std::uint32_t count) {
    std::set<std::string> left;
    return eventually([&] {
      for (const std::string& body : bodies()) left.insert(body);
      for (const std::string& body : orders.take_all()) left.insert(body);
      return left.size() == count;
    });
  }
};

}  // namespace

TEST_CASE("looking at a parking lot consumes nothing and keeps the order") {
  Fixture f;
  f.park_all(20);
  CHECK(f.bodies() == in_order(20));
  CHECK(f.parked.holds(20));
  CHECK(f.bodies() == in_order(20));
  CHECK(f.parked.queue().purge() == 20);
}

TEST_CASE("a look at a parking lot ends although messages keep coming") {
  Fixture f;
  f.park_all(3);
  const ParkedResult result = f.lot.inspect([&](const ParkedMessage&) { f.park("more"); });
  CHECK(result.seen == 3);
  CHECK(result.selected == 3);
  CHECK(result.done == 0);
  CHECK_FALSE(result.ended_by);
  CHECK(f.parked.holds(6));
}

TEST_CASE("54: a replay is bounded, though what it replays is parked again at once, and resets the counts") {
  Fixture f;
  std::atomic<int> runs{0};
  Consumer consumer{
      f.connection,
      f.orders.name(),
      {.retry = warren::RetryPolicy::immediate({.max_attempts = 2, .parked_queue = f.parked.name()})}};
  consumer.start([&](const Delivery&) {
    ++runs;
    throw std::runtime_error("on purpose");
  });
  f.orders.put("a");
  f.orders.put("b");
  REQUIRE(f.parked.holds(2));

  // The first one is parked again before the second one is looked at.
  std::size_t looked_at = 0;
  const ParkedResult result = f.lot.replay({.predicate = [&](const ParkedMessage&) {
    if (++looked_at > 1) REQUIRE(eventually([&] { return runs == 2 * static_cast<int>(looked_at + 1); }));
    return true;
  }});
  CHECK(result.seen == 2);
  CHECK(result.done == 2);
  CHECK(result.failures.empty());
  REQUIRE(f.parked.holds(2));
  CHECK(runs == 8);  // two attempts each, twice
  f.lot.inspect([](const ParkedMessage& parked) {
    CHECK(parked.reason == "max-attempts");
    CHECK(parked.attempts == 2);
    CHECK(parked.replays == 1);
  });
}

TEST_CASE("a replay keeps the order, and what it sends is persistent and without expiration") {
  Fixture f;
  Publisher publisher(f.connection, {.routing_key = f.parked.name()});
  for (std::uint32_t i = 0; i < 200; ++i) {  // some windows full
    (void)publisher.publish_async(
        Message(std::to_string(i), {.headers = {{"retry-original-queue", f.orders.name()}},
                                    .delivery_mode = warren::DeliveryMode::transient,
                                    .expiration = 600'000ms}));
  }
  publisher.flush(10s);
  CHECK(f.lot.replay().done == 200);
  CHECK(f.parked.ready() == 0);
  for (const std::string& body : in_order(200)) {
    const Delivery delivery = f.orders.take();
    CHECK(delivery.body() == body);
    CHECK(delivery.properties().delivery_mode == warren::DeliveryMode::persistent);
    CHECK_FALSE(delivery.properties().expiration);
    CHECK(delivery.headers().find("retry-original-expiration")->as_integer() == 600'000);
  }
}

TEST_CASE("a replayed message is acknowledged only after its copy was confirmed") {
  Proxied f;
  f.park_all(100);
  CHECK(f.lot_through.replay().done == 100);
  std::uint64_t confirmed = 0;
  std::uint64_t acknowledged = 0;
  bool early = false;
  for (const Frame& frame : f.proxy.frames()) {
    if (frame.method != method::basic_ack) continue;
    std::uint64_t& count = frame.direction == Direction::to_client ? confirmed : acknowledged;
    count = frame.multiple ? std::max(count, frame.delivery_tag) : count + 1;
    early = early || acknowledged > confirmed;
  }
  CHECK(acknowledged == 100);
  CHECK_FALSE(early);
}

TEST_CASE("a message whose queue is gone, unknown or full stays parked, and the result says why") {
  Fixture f;
  TestQueue full{{.max_length = 0, .overflow = warren::Overflow::reject_publish}};
  f.park("gone", "rejected", "a queue that was deleted");
  f.park("gone too", "rejected", "a queue that was deleted");
  f.park("full", "rejected", full.name());
  f.park("itself", "rejected", f.parked.name());
  f.parked.put("unknown");
  f.park("fine");
  ParkingLot lot{f.connection,
                 f.parked.name(),
                 {.allowed_queues = {f.orders.name(), full.name(), "a queue that was deleted"}}};
  const ParkedResult result = lot.replay();
  CHECK(result.seen == 6);
  CHECK(result.selected == 6);
  CHECK(result.done == 1);
  CHECK(f.orders.take().body() == "fine");
  CHECK_FALSE(result.ended_by);
  CHECK(f.bodies() == std::vector<std::string>{"gone", "gone too", "full", "itself", "unknown"});
  std::uint64_t failures = 0;
  for (const warren::ParkedFailure& failure : result.failures) {
    failures += failure.messages;
    CAPTURE(failure.why);
    if (failure.queue == "a queue that was deleted") {
      CHECK(failure.messages == 2);
      CHECK(contains(failure.why, "NO_ROUTE"));
    }
  }
  CHECK(failures == 5);
  CHECK(result.failures.size() == 4);
}

TEST_CASE("what a quorum queue's delivery limit parked goes back to that queue") {
  Fixture f;
  TestQueue quorum{{.type = warren::QueueType::quorum,
                    .dead_letter_exchange = "",
                    .dead_letter_routing_key = f.parked.name(),
                    .delivery_limit = 1}};
  quorum.put("limited");
  warren::Channel channel = f.connection.open_channel();
  REQUIRE(eventually([&] {  // until the broker gives up on it
    // By basic.reject: from RabbitMQ 4.3 on a nack does not count.
    if (const auto got = channel.get(quorum.name())) got->reject(warren::Requeue::yes);
    return f.parked.ready() == 1;
  }));
  const ParkedResult seen = f.lot.inspect([&](const ParkedMessage& parked) {
    CHECK(parked.reason == "delivery_limit");
    CHECK(parked.queue == quorum.name());
    CHECK(parked.exchange.empty());
    CHECK(parked.routing_key == quorum.name());
  });
  CHECK(seen.selected == 1);
  ParkingLot lot{f.connection, f.parked.name(), {.allowed_queues = {quorum.name()}}};
  CHECK(lot.replay({.reason = "delivery_limit"}).done == 1);
  const Delivery again = quorum.take();
  CHECK(again.body() == "limited");
  CHECK_FALSE(again.headers().contains("x-death"));
  CHECK(again.headers().find("retry-original-routing-key")->as_string() == quorum.name());
}

TEST_CASE("looks at a quorum parking lot delete nothing, whatever its delivery limit") {
  struct Case {
    std::optional<std::int64_t> limit;
    int looks;
  };
  // No limit given is 20 from RabbitMQ 4.0 on.
  const Case each = GENERATE(Case{{}, 22}, Case{2, 5}, Case{1'000'000'000, 3});
  TestQueue parked{{.type = warren::QueueType::quorum, .delivery_limit = each.limit}};
  TestQueue work{{.dead_letter_exchange = "", .dead_letter_routing_key = parked.name()}};
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  for (const char* body : {"0", "1"}) {  // put there by the broker
    work.put(body);
    std::optional<Delivery> got;
    REQUIRE(eventually([&] { return (got = channel.get(work.name())).has_value(); }));
    got->reject(warren::Requeue::no);
    REQUIRE(parked.holds(static_cast<std::uint32_t>(std::stoi(body)) + 1));
  }
  Publisher publisher(connection, {.routing_key = parked.name()});
  for (const char* body : {"2", "3"}) {  // and by a policy, from a queue that is gone
    publisher.publish(Message(body, {.headers = {{"retry-original-queue", "gone"}}}));
  }
  ParkingLot lot{connection, parked.name(), {.allowed_queues = {"gone"}}};
  for (int look = 0; look < each.looks; ++look) {
    REQUIRE(parked.holds(4));
    std::vector<std::string> bodies;
    const ParkedResult seen = lot.inspect([&](const ParkedMessage& message) {
      bodies.emplace_back(message.message.body());
      if (bodies.back() == "0" || bodies.back() == "1") {
        CHECK(message.reason == "rejected");
        CHECK(message.queue == work.name());
        CHECK(message.last_failure.has_value());
      }
    });
    CHECK_FALSE(seen.ended_by);
    std::ranges::sort(bodies);  // what is published again goes to the end
    CHECK(bodies == in_order(4));
  }
  // What is not selected, a dry run, and a replay that fails give back, too.
  for (int look = 0; look < each.looks; ++look) {
    REQUIRE(parked.holds(4));
    CHECK(lot.replay({.original_queue = "gone"}).failures.size() == 1);
    REQUIRE(parked.holds(4));
    CHECK(lot.discard({.reason = "none"}).seen == 4);
    REQUIRE(parked.holds(4));
    CHECK(lot.discard({.dry_run = true}).selected == 4);
  }
  CHECK(parked.holds(4));
}

TEST_CASE("a visit that throws gives back what was looked at, by basic.nack and ahead of the channel's end") {
  Proxied f;
  f.park_all(3);
  CHECK_THROWS_AS(f.lot_through.inspect([](const ParkedMessage& parked) {
    if (parked.message.body() == "1") throw std::logic_error("says the test");
  }),
                  std::logic_error);
  CHECK(f.parked.holds(3));
  bool nacked = false;
  bool closed_before = false;
  for (const Frame& frame : f.proxy.frames()) {
    if (frame.direction != Direction::to_broker) continue;
    if (frame.method == method::basic_nack) nacked = true;
    if (frame.method == method::channel_close && !nacked) closed_before = true;
  }
  CHECK(nacked);
  CHECK_FALSE(closed_before);
}

TEST_CASE("a selection replays and discards no more than it says") {
  Fixture f;
  for (const char* reason : {"rejected", "crash", "rejected", "rejected"}) f.park(reason, reason);

  const ParkedResult dry = f.lot.replay({.reason = "rejected", .dry_run = true});
  CHECK(dry.seen == 4);
  CHECK(dry.selected == 3);
  CHECK(dry.done == 0);
  CHECK(f.lot.discard({.dry_run = true}).selected == 4);
  CHECK(f.parked.holds(4));

  CHECK(f.lot.replay({.reason = "rejected", .limit = 2}).done == 2);
  CHECK(f.orders.holds(2));
  CHECK(f.bodies() == std::vector<std::string>{"crash", "rejected"});

  CHECK(f.lot.discard({.reason = "rejected"}).done == 1);
  CHECK(f.bodies() == std::vector<std::string>{"crash"});
  CHECK(f.lot
            .discard(
                {.predicate = [](const ParkedMessage& parked) { return parked.message.body() != "crash"; }})
            .selected == 0);
  CHECK(f.lot.discard({.failed_since = std::chrono::system_clock::now() - 1h}).done == 0);
  CHECK(f.lot.discard({.failed_before = std::chrono::system_clock::now() - 1h}).done == 1);
  CHECK(f.parked.holds(0));
}

TEST_CASE("what a predicate throws reaches the caller, and leaves nothing replayed twice") {
  Fixture f;
  f.park_all(10);
  warren::ParkedSelection selection;
  selection.predicate = [](const ParkedMessage& parked) {
    if (parked.message.body() == "5") throw std::logic_error("says the test");
    return true;
  };
  CHECK_THROWS_AS((void)f.lot.replay(selection), std::logic_error);
  CHECK(f.orders.take_all() == numbered(5));
  CHECK(f.parked.holds(5));
}

TEST_CASE("a stop ends a replay between two messages") {
  Fixture f;
  f.park_all(10);
  std::stop_source stop;
  warren::ParkedSelection selection{.stop = stop.get_token()};
  selection.predicate = [&](const ParkedMessage& parked) {
    if (parked.message.body() == "2") stop.request_stop();
    return true;
  };
  const ParkedResult result = f.lot.replay(selection);
  CHECK(result.done == 3);
  CHECK_FALSE(result.ended_by);
  CHECK(f.parked.holds(7));
}

TEST_CASE("a parking lot that is missing is an error, and so is a connection that is gone") {
  Fixture f;
  ParkingLot missing{f.connection, unique_name("no lot")};
  CHECK(thrown<warren::ChannelError>([&] { return missing.inspect([](const ParkedMessage&) {}); }).code() ==
        404);
  CHECK(thrown<warren::ChannelError>([&] { return missing.replay(); }).code() == 404);
  f.connection.close();
  CHECK_THROWS_AS((void)f.lot.replay(), warren::ConnectionError);
  CHECK_THROWS_AS(ParkingLot(f.connection, ""), warren::InvalidArgument);
  CHECK_THROWS_AS(ParkingLot(f.connection, std::string(256, 'x')), warren::InvalidArgument);
  CHECK_THROWS_AS((void)f.lot.discard({.timeout = 0ms}), warren::InvalidArgument);
}

TEST_CASE("a connection that is lost in the middle of a replay loses nothing") {
  Proxied f;
  f.park_all(200);
  const ParkedResult result = f.lot_through.replay({.predicate = [&](const ParkedMessage& parked) {
    if (parked.message.body() == "100") f.proxy.cut();
    return true;
  }});
  REQUIRE(result.ended_by);
  CHECK(result.ended_by->scope == warren::ErrorScope::connection);
  CHECK(result.done < 200);
  CHECK(f.has_all(200));
}

TEST_CASE("a replay over a link that is dead ends by its deadlines, and loses nothing") {
  Proxied f;
  f.park_all(10);
  ParkedResult result;
  const auto took = time_of([&] {
    result = f.lot_through.replay({.predicate =
                                       [&](const ParkedMessage& parked) {
                                         if (parked.message.body() == "5") f.proxy.stall();
                                         return true;
                                       },
                                   .timeout = 3s});
  });
  REQUIRE(result.ended_by);
  CHECK(took < 15s);
  f.proxy.cut();
  CHECK(f.has_all(10));
}
