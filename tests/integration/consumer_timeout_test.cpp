#include <warren/warren.hpp>

#include <map>
#include <mutex>
#include <thread>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/proxy.hpp"
#include "support/scripted_peer.hpp"
#include "support/test_queue.hpp"

// A delivery that is held for longer than the consumer timeout. Up to RabbitMQ 4.2 the broker closes the
// channel (406); from 4.3 on it returns the message, sends basic.cancel, and keeps the consumer until it is
// cancelled: on quorum queues alone (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::ConsumerOptions;
using warren::Delivery;
using warren::Outcome;

namespace {

// Those that need the cancel of RabbitMQ 4.3: true if the broker of this run is older, which is said.
bool is_older() {
  const auto [major, minor] = shared_broker().version();
  const bool older = std::pair(major, minor) < std::pair(4, 3);
  if (older) WARN("RabbitMQ " << major << '.' << minor << " closes the channel: see consumer_failure_test");
  return older;
}

warren::QueueOptions timing_out(warren::FieldTable further = {}) {
  warren::QueueOptions options{.type = warren::QueueType::quorum, .arguments = std::move(further)};
  options.arguments.set("x-consumer-timeout", std::int64_t{1'000});
  return options;
}

struct Slow {
  explicit Slow(warren::FieldTable further = {})
      : arguments(std::move(further)), queue(timing_out(arguments)) {
    connection.open_channel().declare_queue(queue.name(), timing_out(arguments));
  }
  static warren::ConnectionOptions options(LogLines& log) {
    warren::ConnectionOptions options = test_options();
    options.on_log = [&](const warren::LogEvent& event) { log.add(event.text); };
    return options;
  }
  std::size_t frames(std::uint32_t method) const {
    return proxy.count([&](const Frame& frame) { return frame.method == method; });
  }
  // The one consumer was cancelled so many times, and consumes again each time: what its handlers say is too
  // late.
  bool resubscribed(std::size_t times) const {
    return eventually([&] { return frames(method::basic_consume) > times; }, 60s);
  }
  // So many timeouts are on their way to the client.
  bool timed_out(std::size_t times = 1) const {
    return eventually(
        [&] {
          return proxy.count([](const Frame& frame) {
            return frame.method == method::basic_cancel && frame.direction == Direction::to_client;
          }) >= times;
        },
        60s);
  }

  warren::FieldTable arguments;
  TestQueue queue;
  LogLines log;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), options(log)};
};

struct SlowOne : Slow {
  SlowOne() : Slow() {}
};

}  // namespace

TEST_CASE("a consumer with a tag outlives any number of consumer timeouts, alone at the broker",
          "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(5);
  std::atomic<int> runs{0};
  ConsumerOptions options{.prefetch = 3, .consumer_tag = "worker"};
  Consumer consumer{on.connection, on.queue.name(), options};
  constexpr std::size_t slow = 3;
  consumer.start([&](const Delivery&) {
    const auto run = static_cast<std::size_t>(++runs);
    if (run <= slow) on.resubscribed(run);
  });
  REQUIRE(eventually([&] { return consumer.status().acked == 5; }, 90s));
  CHECK(consumer.status().stale == 3);
  CHECK(runs == 8);
  CHECK(on.queue.consumers() == 1);
  CHECK(on.connection.is_open());
  CHECK(on.log.has("x-consumer-timeout"));
  CHECK(on.log.has("1000 ms"));
  // Each delivery was given back before its channel was closed, and no outcome of a late handler was sent.
  CHECK(on.frames(method::basic_nack) >= 3);
  CHECK(on.frames(method::channel_close) >= 3);
  consumer.stop();
  CHECK(on.queue.holds(0));
}

TEST_CASE("of a message that is slow and then fails there is one copy, however often it timed out",
          "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(1);
  TestQueue parked;
  std::atomic<std::size_t> runs{0};
  ConsumerOptions options{
      .retry = warren::RetryPolicy::immediate({.max_attempts = 1, .parked_queue = parked.name()})};
  Consumer consumer{on.connection, on.queue.name(), options};
  consumer.start([&](const Delivery&) {
    const std::size_t run = ++runs;
    if (run <= 2) on.resubscribed(run);
    throw std::runtime_error("the service timed out");
  });
  REQUIRE(eventually([&] { return consumer.status().parked == 1; }, 90s));
  CHECK(runs == 3);
  CHECK(consumer.status().stale == 2);
  consumer.stop();
  CHECK(parked.holds(1));
  CHECK(on.queue.holds(0));
}

TEST_CASE("a consumer timeout never makes the broker exceed the prefetch", "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(30);
  std::atomic<std::size_t> runs{0};
  Consumer consumer{on.connection, on.queue.name(), {.prefetch = 4, .concurrency = 2}};
  consumer.start([&](const Delivery&) {
    const std::size_t run = ++runs;
    if (run <= 2) on.resubscribed(1);
  });
  REQUIRE(eventually([&] { return consumer.status().acked == 30; }, 90s));
  consumer.stop();
  std::size_t most = 0;
  std::size_t unsettled = 0;
  std::map<std::uint16_t, std::uint64_t> up_to;
  for (const Frame& frame : on.proxy.frames()) {
    if (frame.method == method::basic_deliver) most = std::max(most, ++unsettled);
    if (frame.method == method::basic_ack && frame.direction == Direction::to_broker) {
      std::uint64_t& last = up_to[frame.channel];
      unsettled -= std::min<std::size_t>(unsettled, frame.multiple ? frame.delivery_tag - last : 1);
      if (frame.multiple || frame.delivery_tag == last + 1) last = frame.delivery_tag;
    }
    if (frame.method == method::channel_close) unsettled = 0, up_to.erase(frame.channel);
  }
  CHECK(most <= 4);
  CHECK(on.queue.holds(0));
}

TEST_CASE("a breaker's pause after a consumer timeout does not spin", "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(10);
  std::atomic<std::size_t> runs{0};
  ConsumerOptions options;
  options.circuit_breaker = warren::CircuitBreakerOptions{.failure_share = 0.1, .window = 1, .pause = 60s};
  options.retry = warren::RetryPolicy::immediate();
  Consumer consumer{on.connection, on.queue.name(), options};
  consumer.start([&](const Delivery&) {
    if (++runs == 1) on.resubscribed(1);
    return Outcome::requeue;
  });
  REQUIRE(eventually([&] { return consumer.status().circuit == warren::CircuitState::open; }, 60s));
  REQUIRE(eventually([&] { return on.queue.ready() == 10 && on.queue.consumers() == 0; }));
  const std::size_t delivered = on.frames(method::basic_deliver);
  CHECK(delivered <= 10 + 10 + 10);  // before the timeout, after it, and one that was requeued
  for (int i = 0; i < 20; ++i) CHECK(on.queue.ready() == 10);
  CHECK(on.frames(method::basic_deliver) == delivered);
  consumer.stop();
}

TEST_CASE("of two consumers of a single-active queue the other one goes on after a consumer timeout",
          "[timeout]") {
  if (is_older()) return;
  Slow on{{{"x-single-active-consumer", true}}};
  Gate gate;
  std::atomic<int> handled{0};
  std::atomic<bool> slow{true};
  const auto handler = [&](const Delivery&) {
    if (slow.exchange(false)) gate.pass();
    ++handled;
  };
  Consumer one{on.connection, on.queue.name(), {.prefetch = 1}};
  Consumer two{on.connection, on.queue.name(), {.prefetch = 1}};
  one.start(handler);
  two.start(handler);
  const std::uint32_t before = on.queue.consumers();  // the active one alone, on a quorum queue
  on.queue.put("slow");
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  on.queue.put("next");
  REQUIRE(on.timed_out());
  // The slow one holds its handler, and both messages are handled all the same.
  CHECK(eventually([&] { return handled >= 2; }, 60s));
  CHECK(eventually([&] { return one.status().subscribed && two.status().subscribed; }));
  CHECK(on.queue.consumers() == before);
  gate.open();
  CHECK(eventually([&] { return one.status().stale + two.status().stale == 1; }));
  one.stop();
  two.stop();
  CHECK(on.queue.holds(0));
}

TEST_CASE(
    "a consumer timeout during a drain leaves the message to the queue, and counts the outcome as stale",
    "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(3);
  Gate gate;
  Consumer consumer{on.connection, on.queue.name(), {.drain_timeout = 120s}};
  consumer.start([&](const Delivery&) { gate.pass(); });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  std::thread stopping([&] { consumer.stop(); });
  // Behind our own basic.cancel the broker closes the channel for it.
  CHECK(eventually([&] { return on.queue.ready() == 3; }, 60s));
  gate.open();
  stopping.join();
  CHECK(consumer.status().acked == 0);
  CHECK(consumer.status().stale == 1);
  CHECK(on.queue.ready() == 3);
  CHECK(on.connection.is_open());
}

TEST_CASE("a crash guard's consumer goes on after a consumer timeout", "[timeout]") {
  if (is_older()) return;
  SlowOne on;
  on.queue.fill(2);
  std::atomic<std::size_t> runs{0};
  ConsumerOptions options{.retry = warren::RetryPolicy::immediate()};
  options.crash_guard = warren::CrashGuardOptions{};
  Consumer consumer{on.connection, on.queue.name(), options};
  consumer.start([&](const Delivery&) {
    if (++runs == 1) on.resubscribed(2);  // one of the two subscriptions, again
  });
  CHECK(eventually([&] { return consumer.status().acked == 2; }, 60s));
  CHECK(consumer.status().stale == 1);
  consumer.stop();
}

TEST_CASE("basic.cancel-ok is sent to a broker that announces accept_consumer_cancel_ok, and to no other",
          "[timeout][peer]") {
  const bool announced = GENERATE(true, false);
  constexpr std::uint32_t cancel_ok = method::basic_cancel_ok;
  const auto table_entry = [](std::string_view key, const std::string& value) {
    return short_string(key) + value;
  };
  const std::string capability = table_entry("accept_consumer_cancel_ok", "t" + number(1, 1));
  const std::string properties =
      announced ? table_entry("capabilities", "F" + long_string(capability)) : std::string();
  std::mutex mutex;
  std::vector<std::uint32_t> received;
  std::atomic<bool> closed{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands({}, properties);
    // One channel, then another; each answers what a consumer asks.
    for (bool cancelled = false;;) {
      const Frame frame = link.receive();
      {
        const std::lock_guard lock(mutex);
        received.push_back(frame.method);
      }
      switch (frame.method) {
        case method::channel_open:
          link.send(method_frame(frame.channel, 0x0014000B, long_string("")));
          break;
        case method::basic_qos:
          link.send(method_frame(frame.channel, method::basic_qos_ok));
          break;
        case method::basic_consume:
          link.send(method_frame(frame.channel, method::basic_consume_ok, short_string("tag")));
          if (!std::exchange(cancelled, true))
            link.send(method_frame(frame.channel, method::basic_cancel, short_string("tag") + number(1, 1)));
          break;
        case method::basic_cancel:
          link.send(method_frame(frame.channel, cancel_ok, short_string("tag")));
          break;
        case method::channel_close:
          link.send(method_frame(frame.channel, method::channel_close_ok));
          closed = true;
          break;
        case method::connection_close:
          link.send(method_frame(0, method::connection_close_ok));
          break;
        default:
          break;
      }
    }
  });
  Connection connection{peer.endpoint(), test_options()};
  Consumer consumer{connection, "q"};
  consumer.start([](const Delivery&) {});
  REQUIRE(eventually([&] { return closed && consumer.status().subscribed; }));
  consumer.stop();
  const std::lock_guard lock(mutex);
  const auto at = [&](std::uint32_t method) { return std::ranges::find(received, method); };
  CHECK((at(cancel_ok) != received.end()) == announced);
  CHECK(at(method::basic_cancel) <
        at(method::channel_close));  // our own, which removes the consumer before 4.3.7
  if (announced) CHECK(at(cancel_ok) < at(method::basic_cancel));
}
