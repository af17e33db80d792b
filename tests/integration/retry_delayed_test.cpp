// Delayed retries through wait queues.

#include <mutex>
#include <vector>

#include "integration/retry_bench.hpp"

using namespace retry_tests;
using Clock = std::chrono::system_clock;

namespace {

/// Fails so many times, and notes when it ran and what the message said of itself.
class Flaky {
 public:
  struct Run {
    Clock::time_point at{};
    FieldTable headers{};
    Clock::time_point failed_at{};
  };
  explicit Flaky(std::size_t failures) : failures_(failures) {}
  void operator()(const Delivery& delivery) {
    const std::lock_guard lock(mutex_);
    runs_.push_back({.at = Clock::now(), .headers = delivery.headers()});
    if (runs_.size() > failures_) return;
    runs_.back().failed_at = Clock::now();
    throw std::runtime_error("on purpose");
  }
  std::vector<Run> runs() const {
    const std::lock_guard lock(mutex_);
    return runs_;
  }

 private:
  const std::size_t failures_;
  mutable std::mutex mutex_;
  std::vector<Run> runs_;
};

const QueueOptions classic{};
const QueueOptions quorum{.type = QueueType::quorum, .delivery_limit = 20};

}  // namespace

TEST_CASE("a message comes back after its delay, never before, with exact attempts") {
  const bool on_quorum = GENERATE(false, true);
  INFO("quorum " << on_quorum);
  Bench bench(on_quorum ? quorum : classic);
  Flaky handler(3);
  Consumer consumer = bench.consumer(RetryPolicy::delays({300ms, 100ms, 600ms}));
  bench.publish("one");
  consumer.start(std::ref(handler));
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  const std::vector<Flaky::Run> runs = handler.runs();
  REQUIRE(runs.size() == 4);
  const std::chrono::milliseconds delays[] = {300ms, 100ms, 600ms};
  for (std::size_t i = 1; i < runs.size(); ++i) {
    INFO("run " << i);
    CHECK(runs[i].at >= runs[i - 1].failed_at + delays[i - 1]);
    CHECK(integer(runs[i].headers, "retry-attempt") == static_cast<std::int64_t>(i));
    CHECK(integer(runs[i].headers, "retry-queue-attempt") == static_cast<std::int64_t>(i));
    const Clock::time_point due{std::chrono::milliseconds(integer(runs[i].headers, "retry-due-at"))};
    CHECK(due >=
          std::chrono::time_point_cast<std::chrono::milliseconds>(runs[i - 1].failed_at + delays[i - 1]));
    CHECK(runs[i].at >= due);
  }
  CHECK(consumer.status().retried == 3);
  CHECK(bench.ready(bench.queue) == 0);
}

TEST_CASE("a copy that the broker lets go within its last millisecond is not handled early") {
  Bench bench;
  std::atomic<int> early{0};
  Consumer consumer = bench.consumer(RetryPolicy::delays({1s}));
  consumer.start([&](const Delivery& delivery) {
    if (Clock::now() < delivery.retry().due.value() + 1ms) ++early;
  });
  Publisher publisher(bench.connection, {.routing_key = bench.queue});
  for (int i = 0; i < 50; ++i) {
    const auto due = std::chrono::ceil<std::chrono::milliseconds>(Clock::now());
    publisher.publish(Message("one", {.headers = {{"retry-due-at", due.time_since_epoch().count()}}}));
  }
  CHECK(eventually([&] { return consumer.status().acked == 50; }));
  consumer.stop();
  CHECK(early == 0);
}

TEST_CASE("the maximum of attempts parks what waited, with all headers") {
  const bool on_quorum = GENERATE(false, true);
  Bench bench(on_quorum ? quorum : classic);
  bench.publish(Message("one", {.headers = {{"traceparent", "00-ab-cd-01"}}, .message_id = "m-1"}));
  Consumer consumer =
      bench.consumer(RetryPolicy::exponential({.initial = 50ms, .retry = {.max_attempts = 3}}));
  std::atomic<int> runs{0};
  consumer.start(Failing{.text = "still", .runs = &runs});
  CHECK(eventually([&] { return consumer.status().parked == 1; }));
  consumer.stop();
  CHECK(runs == 3);
  const Delivery parked = bench.take(bench.parked);
  const FieldTable& headers = parked.headers();
  CHECK(parked.body() == "one");
  CHECK(parked.properties().message_id == "m-1");
  CHECK_FALSE(parked.properties().expiration.has_value());
  CHECK(text(headers, "traceparent") == "00-ab-cd-01");
  CHECK(text(headers, "retry-id") == "m-1");
  CHECK(integer(headers, "retry-attempt") == 3);
  CHECK(integer(headers, "retry-queue-attempt") == 3);
  CHECK(integer(headers, "retry-last-failure-at") >= integer(headers, "retry-first-failure-at") + 150);
  CHECK(text(headers, "retry-reason") == "max-attempts");
  CHECK(text(headers, "retry-error-message") == "still");
  CHECK(text(headers, "retry-original-queue") == bench.queue);
  CHECK(text(headers, "retry-original-exchange").empty());
  CHECK(text(headers, "retry-original-routing-key") == bench.queue);
  CHECK(text(headers, "retry-policy") == "delayed(50ms, 100ms, max_attempts=3)");
  CHECK_FALSE(headers.contains("retry-due-at"));
  CHECK_FALSE(headers.contains("x-death"));
}

TEST_CASE("past the deadline a message is parked, with that reason") {
  Bench bench;
  bench.publish("one");
  Consumer consumer = bench.consumer(RetryPolicy::fixed(100ms, {.max_attempts = 1'000, .deadline = 450ms}));
  std::atomic<int> runs{0};
  consumer.start(Failing{.runs = &runs});
  CHECK(eventually([&] { return consumer.status().parked == 1; }));
  consumer.stop();
  CHECK(runs >= 2);
  CHECK(runs <= 5);
  CHECK(text(bench.take(bench.parked).headers(), "retry-reason") == "deadline");
}

TEST_CASE("runs in place come ahead of each wait") {
  Bench bench;
  bench.publish("one");
  Flaky handler(5);
  Consumer consumer = bench.consumer(RetryPolicy::fixed(200ms, {.max_attempts = 9, .runs_in_place = 2}));
  consumer.start(std::ref(handler));
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  const std::vector<Flaky::Run> runs = handler.runs();
  REQUIRE(runs.size() == 6);
  CHECK(consumer.status().retried == 1);
  CHECK(runs[3].at >= runs[2].failed_at + 200ms);
  CHECK(integer(runs[3].headers, "retry-attempt") == 3);
}

TEST_CASE("jitter shortens a wait within its bucket, and nobody comes before its moment") {
  Bench bench;
  constexpr int count = 100;
  std::mutex mutex;
  std::set<std::int64_t> offsets;
  std::atomic<int> early{0};
  std::atomic<int> done{0};
  Consumer consumer = bench.consumer(RetryPolicy::fixed(1s, {.jitter = 0.5}));
  Publisher publisher(bench.connection, {.routing_key = bench.queue});
  for (int i = 0; i < count; ++i) publisher.publish(Message("one"));
  consumer.start([&](const Delivery& delivery) {
    const FieldValue* due = delivery.headers().find("retry-due-at");
    if (due == nullptr) throw std::runtime_error("on purpose");
    const std::int64_t moment = due->as_integer().value_or(0);
    const std::int64_t now =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch()).count();
    if (now < moment) ++early;
    const std::lock_guard lock(mutex);
    offsets.insert(moment - integer(delivery.headers(), "retry-last-failure-at"));
    ++done;
  });
  CHECK(eventually([&] { return done == count; }));
  consumer.stop();
  CHECK(early == 0);
  CHECK(offsets.size() > 20);
  CHECK(*offsets.begin() >= 500);
  CHECK(*offsets.rbegin() <= 1'000);
}

TEST_CASE("a stale x-death or x-delivery-count never changes a decision") {
  const bool on_quorum = GENERATE(false, true);
  Bench bench(on_quorum ? quorum : classic);
  // As from another broker, or of a message that was moved by hand.
  const FieldArray deaths{FieldTable{{"queue", bench.queue},
                                     {"reason", "expired"},
                                     {"count", std::int64_t{99}},
                                     {"exchange", ""},
                                     {"routing-keys", FieldArray{bench.queue}},
                                     {"time", Timestamp(1s)}}};
  bench.publish(
      Message("one", {.headers = {{"x-death", deaths}, {"x-delivery-count", 99}, {"x-acquired-count", 99}}}));
  Flaky handler(2);
  Consumer consumer = bench.consumer(RetryPolicy::fixed(100ms, {.max_attempts = 3}));
  consumer.start(std::ref(handler));
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(handler.runs().size() == 3);
  CHECK(consumer.status().parked == 0);
}

TEST_CASE("an original with CC, user id and expiration waits without extra copies") {
  Bench bench;
  bench.channel().declare_queue(bench.other);
  Message message("one", {.headers = {{"CC", FieldArray{bench.other}}}, .expiration = 1h});
  message.properties().user_id = support::shared_broker().endpoint().user;
  Flaky handler(2);
  Consumer consumer = bench.consumer(RetryPolicy::fixed(100ms, {.jitter = 0.5}));
  bench.publish(message);
  consumer.start(std::ref(handler));
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  REQUIRE(handler.runs().size() == 3);
  CHECK(integer(handler.runs()[2].headers, "retry-original-expiration") == 3'600'000);
  CHECK(bench.ready(bench.other) == 1);
}

TEST_CASE("a wait queue that is deleted is declared again, and the copy waits there") {
  Bench bench;
  Consumer consumer = bench.consumer(RetryPolicy::fixed(200ms));
  std::atomic<int> retried{0};
  consumer.start([&](const Delivery& delivery) {
    if (!delivery.headers().contains("retry-attempt")) throw std::runtime_error("on purpose");
    ++retried;
  });
  for (int round = 1; round <= 2; ++round) {  // with the connection for copies not yet open, and open
    bench.remove_queue(bench.wait(200ms));
    bench.publish("one");
    CHECK(eventually([&] { return retried == round; }));
  }
  consumer.stop();
  // As it was: a declaration with the arguments of a wait queue meets no 406.
  Channel channel = bench.channel();
  for (const RetryQueue& queue : RetryPolicy::fixed(200ms).topology(bench.queue).queues) {
    CHECK_NOTHROW(channel.declare_queue(queue.name, queue.options));
  }
}

TEST_CASE("while a wait queue is full, the message is held, not dropped") {
  Bench bench;
  Channel channel = bench.channel();
  RetryTopology topology = RetryPolicy::fixed(1h).topology(bench.queue);
  QueueOptions small = topology.queues.front().options;
  small.max_length = 1;
  channel.declare_queue(bench.wait(1h), small);  // an operator's: left as it is
  Publisher filler(bench.connection, {.routing_key = bench.wait(1h)});
  for (bool full = false; !full;) {  // a quorum queue notices a few messages late
    try {
      filler.publish(Message("occupant"));
    } catch (const NackedError&) {
      full = true;
    }
  }
  Consumer consumer = bench.consumer(RetryPolicy::fixed(1h));
  bench.publish("one");
  consumer.start(Failing{});
  CHECK(eventually([&] { return bench.log.has("is held"); }));
  CHECK(consumer.status().running == 1);
  CHECK(consumer.status().retried == 0);
  SECTION("there is room again: it waits") {
    bench.channel().declare_queue_passive(bench.wait(1h)).purge();
    CHECK(eventually([&] { return consumer.status().retried == 1; }));
    consumer.stop();
    CHECK(bench.take(bench.wait(1h)).body() == "one");
  }
  SECTION("the consumer is stopped: back in its queue, without delay") {
    CHECK(support::time_of([&] { consumer.stop(); }) < 5s);
    CHECK(eventually([&] { return bench.ready(bench.queue) == 1; }));
  }
}

TEST_CASE("a changed policy needs no queue deleted, and what waits by the old one comes back") {
  Bench bench;
  Flaky handler(4);
  bench.publish("one");
  {
    Consumer before = bench.consumer(RetryPolicy::fixed(700ms));
    before.start(std::ref(handler));
    CHECK(eventually([&] { return before.status().retried == 1; }));
    before.stop();
  }
  for (const RetryPolicy& policy :
       {RetryPolicy::fixed(500ms), RetryPolicy::exponential({.initial = 100ms, .max = 700ms}),
        RetryPolicy::fixed(700ms, {.jitter = 0.5}), RetryPolicy::to_queue(bench.retry),
        RetryPolicy::immediate()}) {
    CHECK_NOTHROW(bench.consumer(policy));
  }
  Consumer after = bench.consumer(RetryPolicy::fixed(50ms));
  after.start(std::ref(handler));
  CHECK(eventually([&] { return after.status().acked == 1; }));
  after.stop();
  CHECK(handler.runs().size() == 5);

  // Somebody's own queue of that name, with other arguments, is taken as it is.
  bench.channel().declare_queue(
      bench.wait(60ms),
      {.message_ttl = 60ms, .dead_letter_exchange = "", .dead_letter_routing_key = bench.queue});
  Consumer on_own = bench.consumer(RetryPolicy::fixed(60ms));
  Flaky twice(2);
  bench.publish("two");
  on_own.start(std::ref(twice));
  CHECK(eventually([&] { return on_own.status().acked == 1; }));
  on_own.stop();
}

TEST_CASE("with an exchange of its own, copies go out and come back by that exchange") {
  Bench bench;
  Flaky handler(2);
  Consumer consumer = bench.consumer(RetryPolicy::fixed(100ms, {.exchange = bench.exchange}));
  bench.publish("one");
  consumer.start(std::ref(handler));
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  const std::vector<Flaky::Run> runs = handler.runs();
  REQUIRE(runs.size() == 3);
  // The wait queue's dead letters name it: the broker tells in x-death by which exchange a message had come.
  const FieldValue* deaths = runs[1].headers.find("x-death");
  REQUIRE(deaths != nullptr);
  REQUIRE(deaths->get_if<FieldArray>() != nullptr);
  const auto* death = deaths->get_if<FieldArray>()->front().get_if<FieldTable>();
  REQUIRE(death != nullptr);
  CHECK(text(*death, "exchange") == bench.exchange);

  bench.remove_queue(bench.queue);
  CHECK_THROWS_AS(bench.consumer(RetryPolicy::fixed(100ms, {.exchange = bench.exchange})), ChannelError);
}

TEST_CASE("a policy's topology can be declared ahead, again and again") {
  Bench bench;
  const RetryPolicy policy = RetryPolicy::delays({100ms, 200ms}, {.exchange = bench.exchange});
  for (int i = 0; i < 2; ++i) policy.declare(bench.connection, bench.queue);
  CHECK(bench.exists(bench.wait(100ms)));
  CHECK(bench.exists(bench.wait(200ms)));
  CHECK(bench.exists(bench.parked));
}
