#include <warren/warren.hpp>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// Where a replay sends to is a header that any publisher to the parked queue writes.

using namespace support;
using warren::Connection;
using warren::FieldTable;
using warren::FieldValue;
using warren::Message;
using warren::ParkedFailure;
using warren::ParkedResult;
using warren::ParkingLot;

namespace {

struct Fixture {
  TestQueue orders;
  TestQueue victim;
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  const std::string parked;

  explicit Fixture(const std::string& parked_queue = {}) : parked(name_or(parked_queue)) {
    channel.declare_queue(parked);
  }
  ~Fixture() { channel.declare_queue_passive(parked).remove(); }

  std::string name_or(const std::string& name) const {
    return name.empty() ? orders.name() + "_parked" : name;
  }

  void park(const std::string& body, FieldValue queue) {
    warren::Publisher(connection, {.routing_key = parked})
        .publish(Message(body, {.headers = FieldTable{{"retry-original-queue", std::move(queue)}}}));
  }
  std::vector<std::string> left() {
    std::vector<std::string> bodies;
    ParkingLot(connection, parked).inspect([&](const warren::ParkedMessage& each) {
      bodies.emplace_back(each.message.body());
    });
    return bodies;
  }
};

std::uint64_t count(const ParkedResult& result) {
  std::uint64_t messages = 0;
  for (const ParkedFailure& failure : result.failures) messages += failure.messages;
  return messages;
}

using Bodies = std::vector<std::string>;
using Taken = std::multiset<std::string>;

}  // namespace

TEST_CASE("by default a replay sends only to the queue that the parking lot has its name from") {
  Fixture f;
  f.park("stolen", f.victim.name());
  f.park("mine", f.orders.name());
  f.park("stolen too", f.victim.name());
  ParkingLot lot(f.connection, f.parked);

  const ParkedResult dry = lot.replay({.dry_run = true});
  CHECK(dry.selected == 3);
  CHECK(dry.done == 0);
  CHECK(count(dry) == 2);

  const ParkedResult result = lot.replay();
  CHECK(result.seen == 3);
  CHECK(result.selected == 3);
  CHECK(result.done == 1);
  CHECK_FALSE(result.ended_by);
  REQUIRE(result.failures.size() == 1);
  CHECK(result.failures[0].queue == f.victim.name());
  CHECK(result.failures[0].messages == 2);
  CHECK(contains(result.failures[0].why, "ParkingLotOptions::allowed_queues"));
  CHECK(contains(result.failures[0].why, '"' + f.orders.name() + '"'));
  CHECK(f.victim.ready() == 0);
  CHECK(f.orders.take_all() == Taken{"mine"});
  CHECK(f.left() == Bodies{"stolen", "stolen too"});
}

TEST_CASE("a parking lot of which nothing is known replays nothing until its queues are named") {
  Fixture f(unique_name("lot"));
  f.park("mine", f.orders.name());
  f.park("stolen", f.victim.name());
  const ParkedResult result = ParkingLot(f.connection, f.parked).replay();
  CHECK(result.done == 0);
  CHECK(count(result) == 2);
  for (const ParkedFailure& failure : result.failures) {
    CHECK(contains(failure.why, "name those that a replay may send to in ParkingLotOptions::allowed_queues"));
  }
  CHECK(f.left() == Bodies{"mine", "stolen"});

  CHECK(ParkingLot(f.connection, f.parked, {.allowed_queues = {f.orders.name(), "another"}}).replay().done ==
        1);
  CHECK(f.orders.take_all() == Taken{"mine"});
  CHECK(f.left() == Bodies{"stolen"});
  CHECK(f.victim.ready() == 0);
}

TEST_CASE("a replay knows the queues whose retry policy parks there, and those that dead-letter there") {
  Fixture f(unique_name("lot"));
  SECTION("by a policy that was declared") {
    warren::RetryPolicy::immediate({.parked_queue = f.parked}).declare(f.connection, f.orders.name());
  }
  SECTION("by a consumer's policy") {
    warren::Consumer consumer(f.connection, f.orders.name(),
                              {.retry = warren::RetryPolicy::immediate({.parked_queue = f.parked})});
    consumer.start([](const warren::Delivery&) {});
    consumer.stop();
  }
  SECTION("by its declaration") {
    f.orders.queue().remove();
    f.channel.declare_queue(f.orders.name(),
                            {.dead_letter_exchange = "", .dead_letter_routing_key = f.parked});
  }
  f.park("mine", f.orders.name());
  f.park("stolen", f.victim.name());
  CHECK(ParkingLot(f.connection, f.parked).replay().done == 1);
  CHECK(f.orders.take_all() == Taken{"mine"});
  CHECK(f.left() == Bodies{"stolen"});
  CHECK(f.victim.ready() == 0);
}

TEST_CASE("what is named takes the place of what is known") {
  Fixture f;
  f.park("mine", f.orders.name());
  f.park("other", f.victim.name());
  const ParkedResult result =
      ParkingLot(f.connection, f.parked, {.allowed_queues = {f.victim.name()}}).replay();
  CHECK(result.done == 1);
  CHECK(f.victim.take_all() == Taken{"other"});
  CHECK(f.left() == Bodies{"mine"});
  CHECK_THROWS_AS(ParkingLot(f.connection, f.parked, {.allowed_queues = {""}}), warren::InvalidArgument);
  CHECK_THROWS_AS(ParkingLot(f.connection, f.parked, {.allowed_queues = {std::string(256, 'q')}}),
                  warren::InvalidArgument);
}

TEST_CASE("a header of another type, of any length, is refused, and its message stays") {
  Fixture f;
  const std::vector<FieldValue> hostile{FieldValue(7),
                                        FieldValue(true),
                                        FieldValue(),
                                        FieldValue(""),
                                        FieldValue(std::string(60'000, 'q')),
                                        FieldValue(f.orders.name() + std::string("\0x", 2)),
                                        FieldValue(warren::FieldArray{f.orders.name()}),
                                        FieldValue(FieldTable{{"retry-original-queue", f.orders.name()}}),
                                        FieldValue("\x1b[2J\xff"),
                                        FieldValue(f.parked)};
  for (const FieldValue& each : hostile) f.park("hostile", each);
  f.park("mine", warren::Binary{f.orders.name()});  // the bytes of a name are one
  const ParkedResult result = ParkingLot(f.connection, f.parked).replay();
  CHECK_FALSE(result.ended_by);
  CHECK(result.done == 1);
  CHECK(count(result) == hostile.size());
  CHECK(f.orders.take_all() == Taken{"mine"});
  CHECK(f.left() == Bodies(hostile.size(), "hostile"));
}
