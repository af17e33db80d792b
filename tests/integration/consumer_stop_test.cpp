#include <warren/warren.hpp>

#include <atomic>
#include <future>
#include <mutex>
#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::InvalidArgument;
using warren::TimeoutError;

namespace {

using Fixture = ConnectedQueue;

const auto nothing = [](const Delivery&) {};

}  // namespace

TEST_CASE_METHOD(Fixture,
                 "a stop lets running handlers end and settle; what has not started goes back at once, "
                 "undamaged") {
  const std::size_t concurrency = GENERATE(std::size_t{1}, std::size_t{3});
  const auto running = static_cast<std::uint32_t>(concurrency);
  queue.fill(20);
  Gate gate;
  std::mutex mutex;
  std::multiset<std::string> begun;
  Consumer consumer{connection, queue.name(), {.prefetch = 15, .concurrency = concurrency}};
  consumer.start([&](const Delivery& delivery) {
    {
      const std::lock_guard lock(mutex);
      begun.emplace(delivery.body());
    }
    gate.pass();
  });
  REQUIRE(eventually([&] {
    const auto status = consumer.status();
    return status.running == concurrency && status.waiting == 15 - concurrency;
  }));
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  CHECK(queue.holds(20 - running, 3s));  // while the handlers run
  CHECK(consumer.status().running == concurrency);
  CHECK_FALSE(consumer.status().subscribed);
  CHECK(stopping.wait_for(0s) == std::future_status::timeout);

  gate.open();
  CHECK_NOTHROW(stopping.get());
  CHECK(consumer.status().acked == concurrency);
  CHECK(consumer.status().stale == 0);
  CHECK(consumer.status().waiting == 0);
  CHECK(begun.size() == concurrency);
  REQUIRE(queue.holds(20 - running));
  auto all = queue.take_all();
  CHECK(all.size() == 20 - running);
  all.merge(begun);
  CHECK(all == numbered(20));
}

TEST_CASE_METHOD(Fixture, "a stop under load loses nothing and handles nothing twice") {
  const std::size_t concurrency = GENERATE(std::size_t{1}, std::size_t{4});
  constexpr std::uint32_t count = 5'000;
  queue.fill(count);
  std::mutex mutex;
  std::multiset<std::string> handled;
  Consumer consumer{connection, queue.name(), {.prefetch = 100, .concurrency = concurrency}};
  for (int round = 0; round < 5; ++round) {
    const auto before = consumer.status().acked;
    consumer.start([&](const Delivery& delivery) {
      const std::lock_guard lock(mutex);
      handled.emplace(delivery.body());
    });
    // A stop that comes late on a busy machine may find them all handled.
    REQUIRE(eventually([&] {
      const auto acked = consumer.status().acked;
      return acked > before + 100 || acked == count;
    }));
    consumer.stop();
  }
  CHECK(consumer.status().acked == handled.size());
  const auto left = static_cast<std::uint32_t>(count - handled.size());
  REQUIRE(queue.holds(left));
  handled.merge(queue.take_all());
  CHECK(handled == numbered(count));
}

TEST_CASE_METHOD(Fixture, "drain_timeout holds: a handler that does not end is left, its message goes back") {
  queue.fill(3);
  Gate gate;
  std::atomic<int> ended{0};
  auto consumer =
      std::make_optional<Consumer>(connection, queue.name(), warren::ConsumerOptions{.drain_timeout = 300ms});
  const auto handler = [&](const Delivery&) {
    gate.pass();
    ++ended;
  };
  SECTION("run()") {
    std::stop_source stop;
    auto running = std::async(std::launch::async, [&] {
      return thrown<TimeoutError>([&] { consumer->run(handler, stop.get_token()); }).details();
    });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    CHECK(time_of([&] {
            stop.request_stop();
            CHECK(contains(running.get().operation, queue.name()));
          }) < 300ms + slack);
  }
  SECTION("stop(), which says it once") {
    consumer->start(handler);
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    CHECK(time_of([&] { CHECK_THROWS_AS(consumer->stop(), TimeoutError); }) < 300ms + slack);
    CHECK_NOTHROW(consumer->stop());
  }
  SECTION("the destructor, which says nothing") {
    consumer->start(handler);
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    CHECK(time_of([&] { consumer.reset(); }) < 300ms + slack);
  }
  CHECK(queue.holds(3));
  CHECK(ended == 0);
  if (consumer) CHECK(consumer->status().acked == 0);
  gate.open();
  CHECK(eventually([&] { return ended == 1; }));
  if (consumer) {
    CHECK(eventually([&] { return consumer->status().stale == 1; }));
    CHECK(consumer->status().acked == 0);
  }
  CHECK(queue.ready() == 3);
}

TEST_CASE_METHOD(Fixture, "a consumer runs again after a stop that left a handler behind") {
  queue.fill(3);
  Gate gate;
  std::atomic<bool> first{true};
  std::atomic<int> ended{0};
  Consumer consumer{connection, queue.name(), {.drain_timeout = 100ms}};
  const auto handler = [&](const Delivery&) {
    if (first.exchange(false)) gate.pass();
    ++ended;
  };
  consumer.start(handler);
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  CHECK_THROWS_AS(consumer.stop(), TimeoutError);
  consumer.start(handler);
  CHECK(eventually([&] { return consumer.status().acked == 3; }));
  gate.open();
  CHECK(eventually([&] { return ended == 4 && consumer.status().stale == 1; }));
  CHECK_NOTHROW(consumer.stop());
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Fixture, "a stop whose link stalls ends in time, with a crash guard too") {
  queue.fill(1);
  Gate gate;
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.operation_timeout = 4s;
  Connection stalling{proxy.endpoint(), options};
  const TestQueue parked;
  {
    Consumer consumer{stalling,
                      queue.name(),
                      {.retry = warren::RetryPolicy::immediate({.parked_queue = parked.name()}),
                       .drain_timeout = 300ms,
                       .crash_guard = warren::CrashGuardOptions{}}};
    consumer.start([&](const Delivery&) { gate.pass(); });
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
    std::atomic<bool> overran{false};
    auto stopping = std::async(std::launch::async, [&] {
      return time_of([&] {
        try {
          consumer.stop();
        } catch (const TimeoutError&) {
          overran = true;
        }
      });
    });
    const auto consumers = [&](const std::string& of) {
      return connection.open_channel().declare_queue_passive(of).consumer_count();
    };
    REQUIRE(eventually([&] { return consumers(queue.name()) + consumers(queue.name() + "_suspect") == 0; }));
    proxy.stall();
    CHECK(stopping.get() < 300ms + 4s + slack);
    CHECK(overran);
    proxy.cut();
    gate.open();
  }
  connection.open_channel().declare_queue_passive(queue.name() + "_suspect").remove();
}

TEST_CASE_METHOD(Fixture, "a duration that no clock can tell is without end") {
  constexpr auto for_ever = std::chrono::milliseconds::max();
  queue.fill(1);
  Gate gate;
  Consumer consumer{connection, queue.name(), {.drain_timeout = for_ever, .handler_timeout = for_ever}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  auto waiting = std::async(std::launch::async, [&] { return consumer.wait_for(for_ever); });
  auto stopping = std::async(std::launch::async, [&] { consumer.stop(); });
  CHECK(queue.holds(0));
  CHECK(stopping.wait_for(200ms) == std::future_status::timeout);
  gate.open();
  CHECK_NOTHROW(stopping.get());
  CHECK(waiting.get());
  CHECK(consumer.status().acked == 1);
  CHECK(consumer.status().overdue == 0);

  warren::Publisher publisher{connection, {.routing_key = queue.name(), .timeout = for_ever}};
  CHECK_NOTHROW(publisher.publish(warren::Message("confirmed")));
  (void)publisher.publish_async(warren::Message("in flight"));
  CHECK_NOTHROW(publisher.flush(for_ever));
}

TEST_CASE_METHOD(Fixture, "stop before start, stop twice, stop from many threads") {
  Consumer consumer{connection, queue.name()};
  CHECK_NOTHROW(consumer.stop());
  CHECK_NOTHROW(consumer.wait());
  CHECK(consumer.wait_for(1s));
  consumer.start(nothing);
  queue.put("m");
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  {
    std::vector<std::jthread> crowd;
    for (int i = 0; i < 8; ++i) crowd.emplace_back([&] { consumer.stop(); });
  }
  CHECK_NOTHROW(consumer.stop());
  CHECK_FALSE(consumer.status().subscribed);
  CHECK(queue.consumers() == 0);
}

TEST_CASE_METHOD(Fixture, "run() with a token that was stopped before ends at once, and takes nothing") {
  queue.fill(5);
  std::stop_source stop;
  stop.request_stop();
  std::atomic<int> handled{0};
  Consumer consumer{connection, queue.name()};
  CHECK(time_of([&] { consumer.run([&](const Delivery&) { ++handled; }, stop.get_token()); }) < 5s);
  CHECK(handled == 0);
  CHECK(queue.holds(5));
  CHECK(queue.consumers() == 0);
}

TEST_CASE_METHOD(Fixture, "a stop token ends run(), from another thread and from the handler itself") {
  queue.fill(20);
  Consumer consumer{connection, queue.name()};
  SECTION("from the handler") {
    std::stop_source stop;
    int handled = 0;
    consumer.run(
        [&](const Delivery&) {
          if (++handled == 7) stop.request_stop();
        },
        stop.get_token());
    CHECK(handled == 7);
    CHECK(queue.holds(13));
  }
  SECTION("from another thread") {
    std::jthread runner([&](std::stop_token stop) { consumer.run(nothing, stop); });
    CHECK(eventually([&] { return consumer.status().acked == 20; }));
    CHECK(runner.request_stop());
    runner.join();
    CHECK(queue.ready() == 0);
  }
}

TEST_CASE_METHOD(Fixture, "wait() and wait_for() tell whether a consumer that was started still runs") {
  Consumer consumer{connection, queue.name()};
  consumer.start(nothing);
  CHECK(time_of([&] { CHECK_FALSE(consumer.wait_for(50ms)); }) >= 50ms);
  auto waiting = std::async(std::launch::async, [&] { consumer.wait(); });
  CHECK(waiting.wait_for(100ms) == std::future_status::timeout);
  consumer.stop();
  CHECK_NOTHROW(waiting.get());
  CHECK(consumer.wait_for(0ms));
}

TEST_CASE_METHOD(Fixture, "a consumer can run again after a stop, but not twice at once") {
  Consumer consumer{connection, queue.name()};
  for (std::uint64_t round = 1; round <= 3; ++round) {
    consumer.start(nothing);
    CHECK_THROWS_AS(consumer.start(nothing), InvalidArgument);
    CHECK_THROWS_AS(consumer.run(nothing), InvalidArgument);
    queue.put("m");
    CHECK(eventually([&] { return consumer.status().acked == round; }));
    consumer.stop();
  }
  // No channel stays behind.
  CHECK(connection.open_channel().number() == 1);
}

TEST_CASE_METHOD(Fixture, "a consumer can be moved while it runs, and be destroyed by another thread") {
  auto consumer = std::make_unique<Consumer>(connection, queue.name());
  consumer->start(nothing);
  auto moved = std::make_unique<Consumer>(std::move(*consumer));
  consumer.reset();
  queue.put("m");
  CHECK(eventually([&] { return moved->status().acked == 1; }));
  *moved = Consumer(connection, queue.name());  // as if destroyed
  CHECK(queue.consumers() == 0);
  moved->start(nothing);
  queue.put("m");
  CHECK(eventually([&] { return moved->status().acked == 1; }));
  std::jthread([owned = std::move(moved)]() mutable { owned.reset(); }).join();
  CHECK(queue.consumers() == 0);
  CHECK(queue.ready() == 0);
}

TEST_CASE_METHOD(Fixture, "a consumer that is destroyed while messages pour in loses none") {
  constexpr std::uint32_t count = 2'000;
  queue.fill(count);
  std::atomic<std::uint32_t> handled{0};
  {
    Consumer consumer{connection, queue.name(), {.concurrency = 4}};
    consumer.start([&](const Delivery&) { ++handled; });
    REQUIRE(eventually([&] { return handled > 10; }));
  }
  CHECK(queue.holds(count - handled));
}
