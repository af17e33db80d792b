#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "integration/retry_bench.hpp"
#include "support/proxy.hpp"

using namespace retry_tests;

// Copies whose headers have little room, copies to queues whose names change, and what the log says of
// copies.

namespace {

// From a size at which all headers of a copy fit a frame up to the largest that the client itself can send.
template <typename Call>
int for_each_size(Call&& call) {
  int count = 0;
  try {
    for (std::size_t size = 129'000;; size += size < 130'960 ? 80 : 1, ++count) call(size);
  } catch (const InvalidArgument&) {  // does not fit a frame by itself
  }
  return count;
}

// The broker's connections whose name has this in it: their process ids.
std::set<std::string> connections_named(const std::string& name) {
  std::set<std::string> found;
  for (const auto& row : support::shared_broker().list({"list_connections", "pid", "client_properties"})) {
    if (row.size() == 2 && support::contains(row[1], name)) found.insert(row[0]);
  }
  return found;
}

// A connection of its own with consumers whose handlers fail, each of a queue of its own. What they give up
// on rests in one queue.
struct Crowd {
  explicit Crowd(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      queues.push_back(support::unique_name("crowd"));
      connection.open_channel().declare_queue(queues.back(), {.exclusive = true});
      consumers.push_back(std::make_unique<Consumer>(
          connection, queues.back(),
          ConsumerOptions{.retry =
                              RetryPolicy::immediate({.max_attempts = 1, .parked_queue = bench.parked})}));
    }
  }
  void start(std::size_t number) { consumers.at(number)->start(Failing{}); }
  void publish(std::size_t number) {
    Publisher(connection, {.routing_key = queues.at(number)}).publish("bad");
  }
  [[nodiscard]] bool has_parked(std::size_t number, std::uint64_t count) const {
    return consumers.at(number)->status().parked == count;
  }

  Bench bench;
  const std::string name = support::unique_name("crowd");
  Connection connection{support::shared_broker().url(), support::test_options(name)};
  std::vector<std::string> queues;
  std::vector<std::unique_ptr<Consumer>> consumers;
};

Message with_big_header(std::size_t size) {
  return Message("bad", {.headers = {{"big", std::string(size, 'x')}}});
}

}  // namespace

TEST_CASE("a message with headers of any size is tried again, or parked, and never held") {
  Bench bench;
  const auto shape = GENERATE(as<std::string>(), "in place", "to the queue", "delayed");
  INFO(shape);
  RetryPolicy policy = RetryPolicy::immediate({.max_attempts = 2});
  if (shape == "to the queue")
    policy = RetryPolicy::to_queue(bench.queue, {.max_attempts = 2, .parked_queue = bench.parked});
  if (shape == "delayed") {  // through a wait queue, whose broker adds headers of its own to what leaves it
    policy = RetryPolicy::fixed(100ms, {.max_attempts = 2});
    bench.wait(100ms);
  }
  // Not by a publisher, which would add a header of its own: as those of other clients, which do not.
  Channel raw = bench.channel();
  const int count =
      for_each_size([&](std::size_t size) { raw.publish("", bench.queue, with_big_header(size)); });
  REQUIRE(count > 40);
  bench.publish("good");

  Consumer consumer(bench.connection, bench.queue, {.retry = policy});
  consumer.start([](const Delivery& delivery) {
    if (delivery.body() != "good") throw std::runtime_error(std::string(2'000, 'e'));
  });
  CHECK(eventually([&] {
    const ConsumerStatus status = consumer.status();
    return status.parked == static_cast<std::uint64_t>(count) && status.acked == 1;
  }));
  consumer.stop();
  CHECK_FALSE(bench.log.has("is held"));
  CHECK(bench.log.has("sent without retry-policy"));
  CHECK(bench.ready(bench.queue) == 0);

  int with_all = 0;
  int with_some = 0;
  int with_none = 0;
  for (int i = 0; i < count; ++i) {
    const Delivery parked = bench.take(bench.parked);
    const FieldTable& headers = parked.headers();
    REQUIRE(headers.contains("big"));
    if (headers.size() == 1) {
      ++with_none;
    } else if (headers.contains("retry-policy")) {
      ++with_all;
      CHECK(headers.contains("retry-error-message"));
    } else {
      ++with_some;
      CHECK(headers.contains("retry-original-queue"));  // the last one to go: a replay needs it
    }
  }
  CHECK(with_all > 0);
  CHECK(with_some > 0);
  CHECK(with_none > 0);
}

TEST_CASE("a suspect with headers of any size is guarded, or parked, and never held") {
  Bench bench;
  const std::string suspects = bench.queue + "_suspect";
  Channel raw = bench.channel();
  const int count =
      for_each_size([&](std::size_t size) { raw.publish("", bench.queue, with_big_header(size)); });
  {  // each comes redelivered from here on
    Channel before = bench.channel();
    for (int i = 0; i < count; ++i) REQUIRE(eventually([&] { return before.get(bench.queue).has_value(); }));
  }
  REQUIRE(eventually([&] { return bench.ready(bench.queue) == static_cast<std::uint32_t>(count); }));
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = RetryPolicy::immediate(), .crash_guard = CrashGuardOptions{}});
  consumer.start([](const Delivery&) {});
  CHECK(eventually([&] {
    const ConsumerStatus status = consumer.status();
    return status.acked + status.parked == static_cast<std::uint64_t>(count);
  }));
  CHECK(consumer.status().acked > 0);
  CHECK(consumer.status().parked > 0);
  consumer.stop();
  CHECK_FALSE(bench.log.has("is held"));
  bench.remove_queue(suspects);
}

TEST_CASE("a replay takes headers of ours off a message that has no room for them") {
  Bench bench;
  Channel raw = bench.channel();
  raw.declare_queue(bench.parked);
  const int count = for_each_size([&](std::size_t size) {
    Message message = with_big_header(size);
    message.properties().headers.append("retry-original-queue", bench.queue);
    message.properties().headers.append("retry-reason", "exception");
    raw.publish("", bench.parked, message);
  });
  ParkingLot lot(bench.connection, bench.parked);
  const ParkedResult result = lot.replay();
  CHECK(result.seen == static_cast<std::uint64_t>(count));
  CHECK(result.done == static_cast<std::uint64_t>(count));
  CHECK(result.failures.empty());
  for (int i = 0; i < count; ++i) CHECK(bench.take(bench.queue).headers().contains("big"));
}

TEST_CASE("copies to a queue that the broker named follow it to its next name") {
  support::LogLines log;
  support::Proxy proxy(support::shared_broker().endpoint());
  Connection direct(support::shared_broker().url(), support::test_options());
  Channel channel = direct.open_channel();
  const std::string parked = support::unique_name("named_parked");
  channel.declare_queue(parked);
  ConnectionOptions options = logging_to(log);
  options.recovery.enabled = true;
  Connection connection(proxy.endpoint(), options);
  Channel own = connection.open_channel();
  Queue queue = own.declare_queue("", {.durable = false, .exclusive = true});
  const std::string first_name = queue.name();
  queue.bind("amq.fanout", "");
  Consumer consumer(
      connection, first_name,
      {.retry = RetryPolicy::to_queue(first_name, {.max_attempts = 3, .parked_queue = parked})});
  std::atomic<int> runs{0};
  consumer.start(Failing{.runs = &runs});
  proxy.cut();
  REQUIRE(eventually([&] { return queue.name() != first_name; }));
  REQUIRE(eventually([&] { return consumer.status().subscribed && connection.is_open(); }));
  channel.publish("amq.fanout", "", Message("one"));
  CHECK(eventually([&] { return consumer.status().parked == 1; }));
  CHECK(runs == 3);
  CHECK(consumer.status().retried == 2);
  CHECK_FALSE(log.has("is held"));
  consumer.stop();

  // A replay finds it too, whatever the name that the headers have.
  CHECK(ParkingLot(connection, parked).replay().done == 1);
  CHECK(eventually(
      [&] { return connection.open_channel().declare_queue_passive(queue.name()).message_count() == 1; }));
  channel.declare_queue_passive(parked).remove();
}

TEST_CASE("queues whose names derive from a name of the broker's are refused when the consumer is made") {
  Bench bench;
  Channel channel = bench.channel();
  const std::string named = channel.declare_queue("", {.durable = false, .exclusive = true}).name();
  CHECK_THROWS_AS(Consumer(bench.connection, named, {.retry = RetryPolicy::immediate()}), InvalidArgument);
  CHECK_THROWS_AS(Consumer(bench.connection, named, {.retry = RetryPolicy::fixed(1s, {.parked_queue = "x"})}),
                  InvalidArgument);
  CHECK_THROWS_AS(Consumer(bench.connection, named,
                           {.retry = RetryPolicy::immediate({.parked_queue = bench.parked}),
                            .crash_guard = CrashGuardOptions{}}),
                  InvalidArgument);
  CHECK_NOTHROW(
      Consumer(bench.connection, named, {.retry = RetryPolicy::immediate({.parked_queue = bench.parked})}));
}

TEST_CASE("that a copy went to a queue is logged once it is there, and not before") {
  Bench bench;
  bench.channel().declare_queue(bench.parked, {.max_length = 1, .overflow = Overflow::reject_publish});
  Publisher(bench.connection, {.routing_key = bench.parked}).publish(Message("occupant"));
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::immediate({.max_attempts = 1})});
  consumer.start(Failing{});
  REQUIRE(eventually([&] { return bench.log.has("is held"); }));
  CHECK_FALSE(bench.log.has("failed (max-attempts)"));

  SECTION("it arrives") {
    CHECK(bench.take(bench.parked).body() == "occupant");
    CHECK(eventually([&] { return consumer.status().parked == 1; }));
    CHECK(bench.log.has("failed (max-attempts), and went to \"" + bench.parked + "\": on purpose"));
    consumer.stop();
  }
  SECTION("a stop comes first") {
    consumer.stop();
    CHECK_FALSE(bench.log.has("went to"));
    CHECK(eventually([&] {
      return bench.log.has("failed (max-attempts), and its copy to \"" + bench.parked +
                           "\" was not confirmed");
    }));
  }
}

TEST_CASE(
    "twenty consumers of a connection share one connection for their copies, until the last one stops") {
  constexpr std::size_t count = 20;
  Crowd crowd(count);
  for (std::size_t i = 0; i < count; ++i) crowd.publish(i);
  for (std::size_t i = 0; i < count; ++i) crowd.start(i);
  for (std::size_t i = 0; i < count; ++i) CHECK(eventually([&] { return crowd.has_parked(i, 1); }));
  const std::set<std::string> both = connections_named(crowd.name);
  CHECK(both.size() == 2);

  for (std::size_t i = 1; i < count; ++i) crowd.consumers[i]->stop();
  crowd.publish(0);
  CHECK(eventually([&] { return crowd.has_parked(0, 2); }));
  CHECK(connections_named(crowd.name) == both);  // none was opened again

  crowd.consumers[0]->stop();
  CHECK(eventually([&] { return connections_named(crowd.name).size() == 1; }));
  crowd.publish(1);
  crowd.start(1);
  CHECK(eventually([&] { return crowd.has_parked(1, 2); }));
  CHECK(connections_named(crowd.name).size() == 2);
  CHECK(crowd.bench.ready(crowd.bench.parked) == count + 2);
}

TEST_CASE("a consumer that stops or is destroyed cuts no copy of another one") {
  constexpr std::uint64_t messages = 300;
  Crowd crowd(3);
  crowd.publish(1);
  crowd.publish(2);
  for (std::uint64_t i = 0; i < messages; ++i) crowd.publish(0);
  for (std::size_t i = 0; i < 3; ++i) crowd.start(i);
  CHECK(eventually([&] { return crowd.has_parked(1, 1) && crowd.has_parked(2, 1); }));
  crowd.consumers[1]->stop();
  crowd.consumers[2].reset();
  CHECK(eventually([&] { return crowd.has_parked(0, messages); }));
  CHECK(crowd.bench.ready(crowd.bench.parked) == messages + 2);  // none twice: none was sent again
}
