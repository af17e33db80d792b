#include <warren/warren.hpp>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"

// Suspects that turn out well; those that end their process are in faults/crash_guard_test.cpp.

using namespace support;
using warren::AckMode;
using warren::Connection;
using warren::Consumer;
using warren::ConsumerOptions;
using warren::CrashGuardOptions;
using warren::Delivery;
using warren::InvalidArgument;
using warren::Message;
using warren::Outcome;
using warren::RetryPolicy;

namespace {

struct Fixture {
  explicit Fixture(const warren::QueueOptions& options = {}) : queue(options) {}
  ~Fixture() {
    try {
      connection.open_channel().declare_queue_passive(suspects).remove();
    } catch (const warren::Error&) {  // no consumer made it
    }
  }

  ConsumerOptions options() const {
    return {.retry = RetryPolicy::immediate({.max_attempts = 1, .parked_queue = parked.name()}),
            .crash_guard = CrashGuardOptions{}};
  }
  // What is in the queue comes as redelivered from now on.
  void make_suspects(std::uint32_t count) {
    warren::Channel channel = connection.open_channel();
    for (std::uint32_t i = 0; i < count; ++i) REQUIRE(channel.get(queue.name()).has_value());
    channel.close();
    REQUIRE(queue.holds(count));
  }
  std::uint32_t left_suspects() {
    return connection.open_channel().declare_queue_passive(suspects).message_count();
  }

  TestQueue queue;
  TestQueue parked;
  Connection connection{shared_broker().endpoint(), test_options()};
  const std::string suspects = queue.name() + "_suspect";
};

}  // namespace

TEST_CASE("a consumer with a crash guard runs again after a stop that left a handler behind") {
  Fixture f;
  f.queue.fill(1);
  Gate gate;
  std::atomic<bool> first{true};
  ConsumerOptions options = f.options();
  options.drain_timeout = 100ms;
  Consumer consumer{f.connection, f.queue.name(), options};
  const auto handler = [&](const Delivery&) {
    if (first.exchange(false)) gate.pass();
  };
  consumer.start(handler);
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  CHECK_THROWS_AS(consumer.stop(), warren::TimeoutError);
  consumer.start(handler);
  f.queue.put("another");
  CHECK(eventually([&] { return consumer.status().acked == 2; }));
  gate.open();
  CHECK(eventually([&] { return consumer.status().stale == 1; }));
  CHECK_NOTHROW(consumer.stop());
}

TEST_CASE("a redelivered message is handled by way of the suspect queue, and is what it was") {
  Fixture f;
  warren::Channel channel = f.connection.open_channel();
  warren::Exchange exchange = channel.declare_exchange(unique_name("guard"), {.auto_delete = true});
  f.queue.queue().bind(exchange, "new");
  warren::Publisher(f.connection, {.exchange = exchange.name(), .routing_key = "new"})
      .publish(
          Message("body", {.headers = {{"mine", "kept"}}, .priority = std::uint8_t{7}, .message_id = "m7"}));
  f.make_suspects(1);

  Consumer consumer{f.connection, f.queue.name(), f.options()};
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery& delivery) {
    ++runs;
    CHECK(delivery.body() == "body");
    CHECK(delivery.exchange() == exchange.name());
    CHECK(delivery.routing_key() == "new");
    CHECK(delivery.properties().priority == std::uint8_t{7});
    CHECK(delivery.properties().message_id == "m7");
    CHECK(delivery.headers().find("mine")->as_string() == "kept");
  });
  REQUIRE(eventually([&] { return consumer.status().acked == 1; }));
  CHECK(runs == 1);
  CHECK(consumer.status().suspected == 1);
  CHECK(f.queue.holds(0));
  CHECK(f.left_suspects() == 0);
  consumer.stop();
}

TEST_CASE("a suspect whose handler fails is the policy's, and no suspect any more") {
  Fixture f;
  f.queue.put("fails");
  REQUIRE(f.queue.holds(1));
  f.make_suspects(1);
  Consumer consumer{f.connection, f.queue.name(), f.options()};
  consumer.start([](const Delivery&) { throw std::runtime_error("on purpose"); });
  const Delivery parked = f.parked.take();
  CHECK(parked.headers().find("retry-reason")->as_string() == "max-attempts");
  CHECK(parked.headers().find("retry-attempt")->as_integer() == 1);
  CHECK(parked.headers().find("retry-original-queue")->as_string() == f.queue.name());
  CHECK_FALSE(parked.headers().contains("retry-crash-count"));
  CHECK_FALSE(parked.headers().contains("retry-started-by"));
  CHECK(parked.headers().find("retry-original-priority") == nullptr);
}

TEST_CASE("a suspect that is requeued or dead-lettered goes by its own queue") {
  const Outcome outcome = GENERATE(Outcome::requeue, Outcome::dead_letter);
  TestQueue dead;
  Fixture f({.dead_letter_exchange = "", .dead_letter_routing_key = dead.name()});
  f.queue.put("body");
  REQUIRE(f.queue.holds(1));
  f.make_suspects(1);
  Consumer consumer{f.connection, f.queue.name(), f.options()};
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery&) { return ++runs < 3 ? outcome : Outcome::ack; });
  if (outcome == Outcome::dead_letter) {
    CHECK(dead.take().body() == "body");
    CHECK(runs == 2);
  } else {
    CHECK(eventually([&] { return consumer.status().acked == 1; }));
    CHECK(runs == 3);
  }
  CHECK(f.queue.holds(0));
  CHECK(f.left_suspects() == 0);
  CHECK(f.parked.ready() == 0);
}

TEST_CASE("suspects and others together have no more handlers than the concurrency") {
  constexpr std::uint32_t count = 30;
  const std::size_t concurrency = GENERATE(std::size_t{1}, std::size_t{3});
  Fixture f;
  f.queue.fill(count);
  f.make_suspects(count);
  f.queue.fill(count);
  ConsumerOptions options = f.options();
  options.concurrency = concurrency;
  Consumer consumer{f.connection, f.queue.name(), options};
  std::atomic<std::size_t> now{0};
  std::atomic<std::size_t> most{0};
  consumer.start([&](const Delivery&) {
    const std::size_t running = ++now;
    for (std::size_t before = most; before < running && !most.compare_exchange_weak(before, running);) {
    }
    std::this_thread::sleep_for(3ms);
    --now;
  });
  REQUIRE(eventually([&] { return consumer.status().acked == 2 * count; }));
  CHECK(consumer.status().suspected == count);
  CHECK(most <= concurrency);
  CHECK(f.left_suspects() == 0);
}

TEST_CASE("a crash guard that can't be right is refused") {
  Fixture f;
  const auto refused = [&](auto change) {
    ConsumerOptions options = f.options();
    change(options);
    CHECK_THROWS_AS(Consumer(f.connection, f.queue.name(), options), InvalidArgument);
  };
  refused([](ConsumerOptions& options) { options.crash_guard->limit = 0; });
  refused([](ConsumerOptions& options) { options.retry = RetryPolicy::none(); });
  refused([](ConsumerOptions& options) { options.ack_mode = AckMode::manual; });
  refused([](ConsumerOptions& options) { options.crash_guard->suspect_queue = std::string(256, 'x'); });
  refused([&](ConsumerOptions& options) { options.crash_guard->suspect_queue = f.queue.name(); });
  refused([&](ConsumerOptions& options) { options.crash_guard->suspect_queue = f.parked.name(); });
}
