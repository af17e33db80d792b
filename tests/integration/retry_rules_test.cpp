// What exceptions mean, what a copy says of itself, and handlers that take too long.

#include <mutex>
#include <vector>

#include "integration/retry_bench.hpp"
#include "support/test_queue.hpp"

using namespace retry_tests;

namespace {

struct Busy : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct VeryBusy : Busy {
  using Busy::Busy;
};

}  // namespace

TEST_CASE("exceptions mean what the rules say of their types: retried, parked, or acknowledged") {
  Bench bench;
  for (const char* body : {"busy", "very busy", "rejected", "ignored", "other", "plain reject"})
    bench.publish(body);
  const auto rules = FailureRules()
                         .park<VeryBusy>()  // the first that fits decides
                         .retry<Busy>()
                         .park<std::invalid_argument>()
                         .ignore<std::logic_error>()
                         .ignore<std::exception>();
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = RetryPolicy::to_queue(bench.retry), .failures = rules});
  consumer.start([](const Delivery& delivery) {
    const std::string_view body = delivery.body();
    if (body == "busy") throw Busy("busy");
    if (body == "very busy") throw VeryBusy("very busy");
    if (body == "rejected") throw std::invalid_argument("rejected");
    if (body == "ignored") throw std::out_of_range("ignored");
    if (body == "plain reject") throw Park("not to be ignored");
    throw 42;
  });
  CHECK(eventually([&] {
    const ConsumerStatus status = consumer.status();
    return status.retried == 2 && status.parked == 3 && status.acked == 1;
  }));
  consumer.stop();
  CHECK(consumer.status().ignored == 1);
  CHECK(bench.take(bench.retry).body() == "busy");
  CHECK(bench.take(bench.retry).body() == "other");
  for (const char* body : {"very busy", "rejected", "plain reject"}) {
    const Delivery parked = bench.take(bench.parked);
    CHECK(parked.body() == body);
    CHECK(text(parked.headers(), "retry-reason") == "rejected");
  }
  CHECK(bench.ready(bench.queue) == 0);
}

TEST_CASE("a function says what no type does; what it throws is logged, and the policy decides") {
  Bench bench;
  for (const char* body : {"1", "2", "3", "4"}) bench.publish(body);
  const auto rules = FailureRules().otherwise([](const std::exception_ptr& error) -> FailureRules::Decision {
    try {
      std::rethrow_exception(error);
    } catch (int number) {
      if (number == 1) return FailureDecision{.action = FailureDecision::Action::ignore};
      if (number == 2) return FailureDecision{.action = FailureDecision::Action::park};
      if (number == 3) throw std::runtime_error("undecided");
    }
    return std::nullopt;
  });
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = RetryPolicy::to_queue(bench.retry), .failures = rules});
  consumer.start([](const Delivery& delivery) { throw std::stoi(std::string(delivery.body())); });
  CHECK(eventually([&] {
    const ConsumerStatus status = consumer.status();
    return status.retried == 2 && status.parked == 1 && status.acked == 1;
  }));
  consumer.stop();
  CHECK(eventually([&] { return bench.log.has("undecided"); }));
}

TEST_CASE("a delay that a rule asks for takes the place of the schedule's, rounded up to one there is") {
  Bench bench;
  const RetryPolicy policy = RetryPolicy::delays({50ms, 400ms}, {.runs_in_place = 3});
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = policy, .failures = FailureRules().retry<Busy>(200ms)});
  bench.wait(50ms);
  bench.wait(400ms);
  std::atomic<int> runs{0};
  std::atomic<std::int64_t> waited{0};
  bench.publish("one");
  consumer.start([&](const Delivery& delivery) {
    ++runs;
    if (delivery.retry().attempt == 1) throw Busy("busy");
    waited =
        integer(delivery.headers(), "retry-due-at") - integer(delivery.headers(), "retry-last-failure-at");
  });
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(runs == 2);  // none in place: it asked for time
  CHECK(waited == 400);
}

TEST_CASE("ignored failures are acknowledged in manual mode and with policy none, too") {
  for (const AckMode mode : {AckMode::after_handler, AckMode::manual}) {
    Bench bench;
    bench.publish("one");
    Consumer consumer(bench.connection, bench.queue,
                      {.ack_mode = mode, .failures = FailureRules().ignore<Busy>()});
    consumer.start([](const Delivery&) { throw Busy("busy"); });
    CHECK(eventually([&] { return consumer.status().acked == 1; }));
    CHECK(consumer.status().subscribed);
    consumer.stop();
    CHECK(bench.ready(bench.queue) == 0);
  }
}

TEST_CASE("a delivery tells of the tries before it, those in place included") {
  Bench bench;
  std::mutex mutex;
  std::vector<RetryInfo> seen;
  Consumer consumer = bench.consumer(RetryPolicy::fixed(100ms, {.max_attempts = 9, .runs_in_place = 1}));
  bench.publish(Message("one", {.message_id = "m-1"}));
  consumer.start([&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    seen.push_back(delivery.retry());
    if (seen.size() < 4) throw std::runtime_error("on purpose");
  });
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  REQUIRE(seen.size() == 4);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i].attempt == static_cast<std::int64_t>(i) + 1);
    CHECK(seen[i].queue_attempt == static_cast<std::int64_t>(i) + 1);
  }
  CHECK(seen[0].reason.empty());
  CHECK_FALSE(seen[0].first_failure.has_value());
  CHECK(seen[2].id == "m-1");
  CHECK(seen[2].reason == "exception");
  CHECK(seen[2].error_type == "std::runtime_error");
  CHECK(seen[2].error_message == "on purpose");
  CHECK(seen[2].original_queue == bench.queue);
  REQUIRE(seen[2].first_failure.has_value());
  REQUIRE(seen[2].due.has_value());
  CHECK(*seen[2].due == *seen[2].last_failure + 100ms);
  CHECK(*seen[2].first_failure <= *seen[2].last_failure);
}

TEST_CASE("headers that say nonsense make an original of a delivery, and overflow nothing") {
  Bench bench;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  bench.publish(Message("one", {.headers = {{"retry-attempt", most},
                                            {"retry-queue-attempt", std::int64_t{-3}},
                                            {"retry-first-failure-at", most},
                                            {"retry-reason", 7},
                                            {"retry-error-message", std::string(5'000, 'x')}}}));
  const RetryInfo info = bench.take(bench.queue).retry();
  CHECK(info.attempt == most);
  CHECK(info.queue_attempt == 1);
  CHECK_FALSE(info.first_failure.has_value());
  CHECK(info.reason.empty());
  CHECK(info.error_message.empty());
}

TEST_CASE("a handler that takes too long is told of and counted, once, and goes on") {
  Bench bench;
  for (int i = 0; i < 3; ++i) bench.publish(Message("slow", {.message_id = "m-1"}));
  support::Gate gate;
  Consumer consumer(bench.connection, bench.queue, {.concurrency = 2, .handler_timeout = 1s});
  consumer.start([&](const Delivery&) { gate.pass(); });
  CHECK(eventually([&] { return consumer.status().overdue == 2; }));
  CHECK(eventually([&] { return bench.log.has("runs for longer than 1000 ms: message m-1"); }));
  CHECK(consumer.status().running == 2);
  gate.open();
  CHECK(eventually([&] { return consumer.status().acked == 3; }));
  consumer.stop();
  CHECK(consumer.status().overdue == 2);
  CHECK_THROWS_AS(Consumer(bench.connection, bench.queue, {.handler_timeout = 0ms}), InvalidArgument);
}

TEST_CASE("a copy of a message whose handler failed too late says so, one that failed in time does not") {
  Bench bench;
  bench.publish(Message("slow"));
  std::mutex mutex;
  std::vector<std::string> reasons;
  bool overdue = false;
  Consumer consumer(
      bench.connection, bench.queue,
      {.retry = RetryPolicy::to_queue(bench.queue, {.max_attempts = 9}), .handler_timeout = 1s});
  consumer.start([&](const Delivery& delivery) {
    const std::lock_guard lock(mutex);
    reasons.push_back(delivery.retry().reason);
    if (reasons.size() == 1) overdue = eventually([&] { return consumer.status().overdue == 1; });
    if (reasons.size() < 3) throw std::runtime_error("on purpose");
  });
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(overdue);
  CHECK(reasons == std::vector<std::string>{"", "timeout", "exception"});
}
