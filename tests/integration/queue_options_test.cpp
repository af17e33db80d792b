#include <warren/warren.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <string>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// Options that a broker of today takes, and what they do there; an older one has none of it.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::DelayedRetry;
using warren::Delivery;
using warren::Message;
using warren::Outcome;
using warren::Publisher;
using warren::QueueType;

namespace {

// True if the broker of this run is older, which is said.
bool is_older_than(std::pair<int, int> version) {
  const auto broker = shared_broker().version();
  const bool older = broker < version;
  if (older)
    WARN("RabbitMQ " << broker.first << '.' << broker.second << " is older than " << version.first << '.'
                     << version.second);
  return older;
}

}  // namespace

TEST_CASE("a quorum queue with delayed_retry holds back what a handler wants again") {
  if (is_older_than({4, 3})) return;
  using Clock = std::chrono::steady_clock;
  TestQueue queue({.type = QueueType::quorum,
                   .delayed_retry = DelayedRetry::failed,
                   .delayed_retry_min = 700ms,
                   .delayed_retry_max = 2s});
  Connection connection{shared_broker().endpoint(), test_options()};
  queue.fill(1);
  std::atomic<int> runs{0};
  Clock::time_point first{};
  Clock::duration between{};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery&) {
    if (++runs > 1) {
      between = Clock::now() - first;
      return Outcome::ack;
    }
    first = Clock::now();
    return Outcome::requeue;
  });
  REQUIRE(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(runs == 2);
  CHECK(between >= 700ms);
}

TEST_CASE("a quorum queue whose delivery_limit is -1 gives a message back for ever") {
  if (is_older_than({4, 0})) return;
  TestQueue queue({.type = QueueType::quorum, .delivery_limit = -1});
  Connection connection{shared_broker().endpoint(), test_options()};
  queue.fill(1);
  constexpr int more_than_20 = 50;  // the limit that such a queue has by default
  std::atomic<int> runs{0};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery&) { return ++runs < more_than_20 ? Outcome::requeue : Outcome::ack; });
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(runs == more_than_20);
}

TEST_CASE("a queue that is neither durable nor exclusive is refused with what to do, and not in doubt") {
  if (is_older_than({4, 0})) return;
  PrivateBroker broker("deprecated_features.permit.transient_nonexcl_queues = false");
  Connection connection{broker.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  const auto error = thrown<warren::ConnectionError>(
      [&] { channel.declare_queue(unique_name("transient"), {.durable = false}); });
  CHECK(error.code() == 541);
  CHECK_FALSE(error.in_doubt());
  CHECK(error.permanent());
  CHECK(contains(error.text(), "set QueueOptions::durable or QueueOptions::exclusive"));
}

TEST_CASE("a consumer of a stream with stream_filter gets what was published with such a value") {
  if (is_older_than({4, 0})) return;
  TestQueue stream({.type = QueueType::stream});
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = stream.name()}};
  // Confirmed one by one: each is in a chunk of its own, and the filter is one of chunks.
  for (int i = 0; i < 10; ++i) {
    for (const char* value : {"invoice", "order", ""}) {
      Message message(value);
      if (*value != '\0') message.set_stream_filter(value);
      publisher.publish(message);
    }
  }
  Message last("last");
  last.set_stream_filter("order");
  publisher.publish(last);

  const bool unfiltered = GENERATE(false, true);
  std::mutex mutex;
  std::multiset<std::string> bodies;
  warren::ConsumerOptions options{.arguments = {{"x-stream-offset", "first"}}};
  options.stream_filter = {"order"};
  options.stream_match_unfiltered = unfiltered;
  Consumer consumer{connection, stream.name(), options};
  consumer.start([&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    bodies.emplace(delivery.body());
  });
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return bodies.contains("last");
  }));
  consumer.stop();
  CHECK(bodies.count("order") == 10);
  CHECK(bodies.count("invoice") == 0);
  CHECK(bodies.count("") == (unfiltered ? 10 : 0));
}
