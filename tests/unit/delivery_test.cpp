#include <warren/delivery.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <warren/error.hpp>
#include <warren/failure_rules.hpp>
#include <warren/outcome.hpp>
#include <warren/publisher.hpp>
#include <warren/retry_policy.hpp>

#include "support/catch.hpp"

// Deliveries without a broker, for the unit tests of handlers.

using namespace warren;

namespace {

// A handler as a program has it: it settles by itself.
Outcome handle(const Delivery& delivery) {
  if (delivery.redelivered() && delivery.retry().attempt > 3) {
    delivery.reject(Requeue::no);
    return Outcome::ack;
  }
  if (delivery.routing_key() != "orders") throw Park("no order: " + delivery.routing_key());
  if (delivery.headers().string("action") == "process") delivery.ack();
  return delivery.body() == "later" ? Outcome::retry : Outcome::ack;
}

}  // namespace

TEST_CASE(
    "a handler is tested without a broker: it reads what the test says, and what it settles is recorded") {
  const Delivery delivery =
      Delivery::for_test({"body", {.headers = {{"action", "process"}}, .message_id = "m1"}},
                         {.exchange = "shop", .routing_key = "orders", .consumer_tag = "tag"});
  CHECK(delivery.body() == "body");
  CHECK(delivery.bytes().size() == 4);
  CHECK(delivery.properties().message_id == "m1");
  CHECK(delivery.exchange() == "shop");
  CHECK(delivery.consumer_tag() == "tag");
  CHECK(delivery.delivery_tag() == 1);
  CHECK_FALSE(delivery.redelivered());
  CHECK(delivery.retry().attempt == 1);
  CHECK_FALSE(delivery.settled());
  CHECK(handle(delivery) == Outcome::ack);
  CHECK(delivery.settled() == Settlement::ack);

  CHECK(handle(Delivery::for_test("later", {.routing_key = "orders"})) == Outcome::retry);
  CHECK_THROWS_AS(handle(Delivery::for_test("x", {.routing_key = "others"})), Park);

  const Delivery fourth = Delivery::for_test({"x", {.headers = {{"retry-attempt", 3}}}},
                                             {.delivery_tag = 7, .redelivered = true, .messages_left = 2});
  CHECK(fourth.retry().attempt == 4);
  CHECK(fourth.delivery_tag() == 7);
  CHECK(fourth.messages_left() == 2);
  (void)handle(fourth);
  CHECK(fourth.settled() == Settlement::reject);
}

TEST_CASE("each way to settle a delivery for tests is recorded as what it is") {
  const auto settled = [](auto&& settle) {
    const Delivery delivery = Delivery::for_test("x");
    settle(delivery);
    return delivery.settled();
  };
  CHECK(settled([](const Delivery& each) { each.ack(); }) == Settlement::ack);
  CHECK(settled([](const Delivery& each) { each.ack_up_to(); }) == Settlement::ack_up_to);
  CHECK(settled([](const Delivery& each) { each.nack(Requeue::yes); }) == Settlement::nack_requeue);
  CHECK(settled([](const Delivery& each) { each.nack(Requeue::no); }) == Settlement::nack);
  CHECK(settled([](const Delivery& each) { each.reject(Requeue::yes); }) == Settlement::reject_requeue);
  CHECK(settled([](const Delivery& each) { each.reject(Requeue::no); }) == Settlement::reject);
  CHECK(settled([](const Delivery&) {}) == std::nullopt);
}

TEST_CASE("a delivery for tests can't be settled twice, and its copies share what became of it") {
  Delivery first = Delivery::for_test("x", {.delivery_tag = 9});
  std::optional<Delivery> copy = first;
  Delivery assigned;
  assigned = first;
  copy->nack(Requeue::yes);
  CHECK(first.settled() == Settlement::nack_requeue);
  try {
    first.ack();
    FAIL("it was settled twice");
  } catch (const InvalidArgument& error) {
    CHECK(std::string_view(error.what()).find("delivery 9 was settled before") != std::string_view::npos);
  }
  CHECK_THROWS_AS(assigned.reject(Requeue::no), InvalidArgument);
  copy.reset();
  CHECK(first.settled() == Settlement::nack_requeue);

  const Delivery moved = std::move(first);
  CHECK(moved.settled() == Settlement::nack_requeue);
  CHECK_THROWS_AS(first.ack(), LogicError);  // NOLINT(bugprone-use-after-move)
  CHECK_FALSE(first.settled());              // NOLINT(bugprone-use-after-move)
  CHECK_FALSE(Delivery().settled());
  CHECK_THROWS_AS(Delivery().ack(), LogicError);
}

TEST_CASE("of many threads that settle a delivery for tests one succeeds") {
  const Delivery delivery = Delivery::for_test("x");
  std::atomic<int> succeeded{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&succeeded, copy = delivery] {
      try {
        copy.ack();
        ++succeeded;
      } catch (const InvalidArgument&) {  // another thread was faster
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(succeeded == 1);
  CHECK(delivery.settled() == Settlement::ack);
}

TEST_CASE("a real delivery pays a pointer at most for those of tests") {
  struct WithoutRecord {
    Message message;
    std::string exchange, routing_key, consumer_tag;
    std::uint64_t delivery_tag;
    std::uint32_t messages_left, runs_before;
    bool redelivered;
    std::weak_ptr<int> channel;
  };
  STATIC_REQUIRE(sizeof(Delivery) <= sizeof(WithoutRecord) + sizeof(void*));
}

TEST_CASE("the enums of messages and their outcomes have names") {
  CHECK(std::string(to_string(Settlement::ack_up_to)) == "ack_up_to");
  CHECK(std::string(to_string(Settlement::reject_requeue)) == "reject_requeue");
  CHECK(std::string(to_string(Outcome::park)) == "park");
  CHECK(std::string(to_string(Outcome::dead_letter)) == "dead_letter");
  CHECK(std::string(to_string(Requeue::yes)) == "yes");
  CHECK(std::string(to_string(DeliveryMode::persistent)) == "persistent");
  CHECK(std::string(to_string(FailureDecision::Action::ignore)) == "ignore");
  CHECK(std::string(to_string(RetryPolicy::Shape::to_queue)) == "to_queue");
}

TEST_CASE("a publisher takes any kind of body as it is") {
  STATIC_REQUIRE(requires(Publisher & publisher, std::string string, std::string_view view,
                          std::span<const std::byte> bytes) {
    publisher.publish("hello");
    publisher.publish(string);
    publisher.publish(view, {.exchange = "shop"});
    publisher.publish(bytes);
    publisher.publish_async("hello", {.routing_key = "orders"});
  });
}
