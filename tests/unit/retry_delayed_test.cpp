// Delayed policies: their schedules, their topology, where a copy waits and for how long.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <warren/error.hpp>
#include <warren/retry_policy.hpp>

#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "retry/read.hpp"
#include "support/catch.hpp"
#include "support/copies.hpp"

namespace {

using namespace warren;
using namespace support;
using namespace std::chrono_literals;
using engine::DeliveryAccess;
using retry::Copy;
using retry::Failure;
using retry::Reason;
using Delays = std::vector<std::chrono::milliseconds>;

Copy copy_of(const RetryPolicy& policy, FieldTable headers = {}, const Failure& failure = {}) {
  return retry::make_copy(policy, "orders", delivery(std::move(headers)), failure, now, "host-1");
}

}  // namespace

TEST_CASE("each kind of delayed policy comes to a schedule, whose last delay stands for all later ones") {
  CHECK(RetryPolicy::fixed(250ms).schedule() == Delays{250ms});
  CHECK(RetryPolicy::linear(1s).schedule() == Delays{1s, 2s, 3s, 4s});
  CHECK(RetryPolicy::linear(1s, {.max_attempts = 90, .max_delay = 2'500ms}).schedule() ==
        Delays{1s, 2s, 2'500ms});
  CHECK(RetryPolicy::exponential({.initial = 1s, .max = 1min, .retry = {.max_attempts = 5}}).schedule() ==
        Delays{1s, 2s, 4s, 8s});
  CHECK(RetryPolicy::exponential({.initial = 1s, .max = 1min, .retry = {.max_attempts = 99}}).schedule() ==
        Delays{1s, 2s, 4s, 8s, 16s, 32s, 60s});
  CHECK(RetryPolicy::exponential({.initial = 100ms, .multiplier = 1.5, .retry = {.max_attempts = 4}})
            .schedule() == Delays{100ms, 150ms, 225ms});
  CHECK(RetryPolicy::exponential({.retry = {.max_attempts = 9, .runs_in_place = 2}}).schedule() ==
        Delays{1s, 2s});
  CHECK(RetryPolicy::delays({5s, 1s, 5s}).schedule() == Delays{5s, 1s, 5s});
  CHECK(RetryPolicy::delays({5s, 1s, 5s}).distinct_delays() == Delays{1s, 5s});
  CHECK(RetryPolicy::delays({1s, 1h}, {.max_delay = 1min}).distinct_delays() == Delays{1s, 1min});

  const RetryPolicy custom = RetryPolicy::custom([](std::uint32_t failures) { return failures * 700ms; },
                                                 {5s, 1s, 2s}, {.max_attempts = 5});
  CHECK(custom.schedule() == Delays{1s, 2s, 5s, 5s});
  CHECK(custom.distinct_delays() == Delays{1s, 2s, 5s});
}

TEST_CASE("a delayed policy is a value: compared by what it does, told in a line") {
  CHECK(RetryPolicy::fixed(1s) == RetryPolicy::delays({1s}));
  CHECK_FALSE(RetryPolicy::fixed(1s) == RetryPolicy::fixed(2s));
  CHECK_FALSE(RetryPolicy::fixed(1s) == RetryPolicy::fixed(1s, {.jitter = 0.1}));
  CHECK_FALSE(RetryPolicy::fixed(1s) == RetryPolicy::immediate());
  CHECK(RetryPolicy::fixed(1s).shape() == RetryPolicy::Shape::delayed);
  CHECK(to_string(RetryPolicy::exponential({.initial = 500ms, .retry = {.max_attempts = 3}})) ==
        "delayed(500ms, 1s, max_attempts=3)");
  CHECK(
      to_string(RetryPolicy::fixed(1s, {.runs_in_place = 2,
                                        .parked_queue = "p",
                                        .exchange = "x",
                                        .name = "n",
                                        .deadline = 1min,
                                        .jitter = 0.25})) ==
      "delayed(1s, max_attempts=5, runs_in_place=2, deadline=60s, jitter=0.25, parked_queue=p, exchange=x)");
}

TEST_CASE("an exponential policy takes its other options as every policy does; its cap is the smaller one") {
  const RetryOptions retry{.max_attempts = 9, .parked_queue = "p", .deadline = 1min, .jitter = 0.25};
  const RetryPolicy policy = RetryPolicy::exponential({.initial = 1s, .max = 4s, .retry = retry});
  CHECK(policy.schedule() == Delays{1s, 2s, 4s});
  RetryOptions capped = retry;
  capped.max_delay = 4s;
  CHECK(policy.options() == capped);
  RetryOptions lower = retry;
  lower.max_delay = 2s;
  CHECK(RetryPolicy::exponential({.initial = 1s, .max = 4s, .retry = lower}).schedule() == Delays{1s, 2s});
  CHECK(RetryPolicy::exponential({.initial = 1s, .max = 4s, .retry = lower}).options() == lower);
}

TEST_CASE("a delayed policy that can't be right is refused") {
  const auto refused = [](auto&& make) { CHECK_THROWS_AS(make(), InvalidArgument); };
  refused([] { return RetryPolicy::fixed(0ms); });
  refused([] { return RetryPolicy::fixed(-1ms); });
  refused([] { return RetryPolicy::fixed(4'294'967'296ms); });
  refused([] { return RetryPolicy::fixed(1s, {.max_attempts = 0}); });
  refused([] { return RetryPolicy::fixed(1s, {.deadline = 0ms}); });
  refused([] { return RetryPolicy::fixed(1s, {.max_delay = 0ms}); });
  refused([] { return RetryPolicy::fixed(1s, {.jitter = -0.1}); });
  refused([] { return RetryPolicy::fixed(1s, {.jitter = 1}); });
  refused([] { return RetryPolicy::fixed(1s, {.jitter = std::numeric_limits<double>::quiet_NaN()}); });
  refused([] { return RetryPolicy::linear(0ms); });
  refused([] { return RetryPolicy::exponential({.initial = 0ms}); });
  refused([] { return RetryPolicy::exponential({.multiplier = 0.5}); });
  refused([] { return RetryPolicy::exponential({.multiplier = std::numeric_limits<double>::infinity()}); });
  refused([] { return RetryPolicy::delays({}); });
  refused([] { return RetryPolicy::custom([](std::uint32_t) { return 3s; }, {1s, 2s}); });
  refused([] { return RetryPolicy::custom([](std::uint32_t) { return 3s; }, {}); });
  refused([] { return RetryPolicy::custom({}, {1s}); });
  CHECK_NOTHROW(RetryPolicy::fixed(4'294'967'295ms));

  // At most 16 distinct delays, each of which is a queue.
  CHECK_NOTHROW(RetryPolicy::linear(1s, {.max_attempts = 17}));
  refused([] { return RetryPolicy::linear(1s, {.max_attempts = 18}); });
}

TEST_CASE("a delayed policy lists its topology: a quorum queue for each delay, and the parked one") {
  const RetryTopology topology = RetryPolicy::delays({2s, 1s, 2s}).topology("orders");
  CHECK(topology.exchange.empty());
  CHECK(topology.bindings.empty());
  REQUIRE(topology.queues.size() == 3);
  CHECK(topology.queues[0].name == "orders_wait_1000");
  CHECK(topology.queues[1].name == "orders_wait_2000");
  CHECK(topology.queues[2].name == "orders_parked");
  const QueueOptions& wait = topology.queues[0].options;
  CHECK(wait.durable);
  CHECK(wait.type == QueueType::quorum);
  CHECK(wait.message_ttl == 1s);
  CHECK(wait.dead_letter_exchange == "");
  CHECK(wait.dead_letter_routing_key == "orders");
  CHECK(wait.dead_letter_strategy == DeadLetterStrategy::at_least_once);
  CHECK(wait.overflow == Overflow::reject_publish);
  CHECK_FALSE(wait.expires.has_value());  // what is in a queue that expires is gone
  CHECK(topology.queues[2].options.type == QueueType::classic);

  const RetryTopology bound = RetryPolicy::fixed(1s, {.exchange = "x"}).topology("orders");
  CHECK(bound.exchange == "x");
  CHECK(bound.bindings == std::vector<std::string>{"orders_wait_1000", "orders_parked", "orders"});
  CHECK(bound.queues[0].options.dead_letter_exchange == "x");
  CHECK(RetryPolicy::none().topology("orders").queues.empty());
}

TEST_CASE("a topology whose names can't be right is refused") {
  const RetryPolicy policy = RetryPolicy::fixed(1s, {.parked_queue = "p"});
  CHECK_NOTHROW(policy.topology(std::string(255 - 10, 'q')));
  CHECK_THROWS_AS(policy.topology(std::string(255 - 9, 'q')), InvalidArgument);
  CHECK_THROWS_AS(policy.topology("p"), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::fixed(1s, {.parked_queue = "orders_wait_1000"}).topology("orders"),
                  InvalidArgument);
}

TEST_CASE("a copy waits in the queue of its delay, and comes back with its attempts") {
  const RetryPolicy policy = RetryPolicy::delays({1s, 5s});
  const Copy first = copy_of(policy);
  CHECK_FALSE(first.parked);
  CHECK(first.queue == "orders_wait_1000");
  CHECK_FALSE(first.message.properties().expiration.has_value());  // the queue's own is exact
  CHECK(integer(headers_of(first), "retry-attempt") == 1);
  CHECK(integer(headers_of(first), "retry-queue-attempt") == 1);
  CHECK(integer(headers_of(first), "retry-due-at") == now_ms + 1'000);
  CHECK(copy_of(policy, headers_of(first)).queue == "orders_wait_5000");
  CHECK(copy_of(policy, {{"retry-queue-attempt", 3}}).queue == "orders_wait_5000");

  const Copy last = copy_of(policy, {{"retry-queue-attempt", 4}, {"retry-due-at", now_ms - 7}});
  CHECK(last.parked);
  CHECK(last.queue == "orders_parked");
  CHECK(last.reason == Reason::max_attempts);
  CHECK_FALSE(headers_of(last).contains("retry-due-at"));
  CHECK(copy_of(policy, {}, {.reason = Reason::rejected}).queue == "orders_parked");
}

TEST_CASE("runs in place come ahead of each delay, and don't use delays up") {
  const RetryPolicy policy = RetryPolicy::delays({1s, 5s}, {.max_attempts = 9, .runs_in_place = 2});
  std::uint32_t runs = 1;
  while (retry::run_again_in_place(policy, delivery(), {.runs = runs}, now)) ++runs;
  CHECK(runs == 3);
  const Copy first = copy_of(policy, {}, {.runs = 3});
  CHECK(first.queue == "orders_wait_1000");
  const Copy second = copy_of(policy, headers_of(first), {.runs = 3});
  CHECK(second.queue == "orders_wait_5000");
  CHECK(copy_of(policy, headers_of(second), {.runs = 3}).reason == Reason::max_attempts);
}

TEST_CASE("what could be tried again only after the deadline is parked") {
  const RetryPolicy policy = RetryPolicy::fixed(1s, {.max_attempts = 100, .deadline = 10s});
  const auto failed_first = [](std::int64_t ago) {
    return FieldTable{{"retry-first-failure-at", now_ms - ago}};
  };
  CHECK_FALSE(copy_of(policy).parked);
  CHECK_FALSE(copy_of(policy, failed_first(9'000)).parked);
  const Copy late = copy_of(policy, failed_first(9'001));
  CHECK(late.parked);
  CHECK(late.reason == Reason::deadline);
  const FieldValue* reason = headers_of(late).find("retry-reason");
  REQUIRE(reason != nullptr);
  CHECK(*reason == FieldValue("deadline"));
  CHECK(copy_of(policy, {{"retry-first-failure-at", now_ms - 60'000}, {"retry-queue-attempt", 99}}).reason ==
        Reason::max_attempts);

  const RetryPolicy in_place = RetryPolicy::immediate({.max_attempts = 100, .deadline = 10s});
  CHECK(retry::run_again_in_place(in_place, delivery(), {.first_at = now - 10s}, now));
  CHECK_FALSE(retry::run_again_in_place(in_place, delivery(), {.first_at = now - 10'001ms}, now));
  CHECK(copy_of(in_place, {}, {.first_at = now - 10'001ms}).reason == Reason::deadline);
  CHECK(integer(headers_of(copy_of(in_place, {}, {.first_at = now - 5s})), "retry-first-failure-at") ==
        now_ms - 5'000);
  CHECK(copy_of(RetryPolicy::to_queue("r", {.deadline = 10s}), failed_first(10'001)).queue ==
        "orders_parked");
}

TEST_CASE("jitter shortens a wait within its bucket, and the header tells the moment") {
  const RetryPolicy policy = RetryPolicy::fixed(1s, {.jitter = 0.3});
  std::set<std::int64_t> seen;
  for (int i = 0; i < 500; ++i) {
    const Copy copy = copy_of(policy);
    CHECK(copy.queue == "orders_wait_1000");
    const auto expiration = copy.message.properties().expiration.value_or(1s);
    REQUIRE(expiration >= 700ms);
    REQUIRE(expiration <= 1s);
    REQUIRE(integer(headers_of(copy), "retry-due-at") == now_ms + expiration.count());
    seen.insert(expiration.count());
  }
  CHECK(seen.size() > 100);
  CHECK(*seen.begin() < 750);
  CHECK(*seen.rbegin() > 950);
  CHECK_FALSE(copy_of(policy, {}, {.reason = Reason::rejected}).message.properties().expiration.has_value());
}

TEST_CASE("a wait's expiration replaces the message's own, which is kept") {
  Delivery from = delivery();
  DeliveryAccess::message(from).properties().expiration = 1h;
  const RetryPolicy policy = RetryPolicy::fixed(1s, {.jitter = 0.5});
  for (int hop = 0; hop < 3; ++hop) {
    const Copy copy = retry::make_copy(policy, "orders", from, {}, now, "host-1");
    CHECK(copy.message.properties().expiration.value_or(0ms) <= 1s);
    CHECK(integer(headers_of(copy), "retry-original-expiration") == 3'600'000);
    DeliveryAccess::message(from) = copy.message;
  }
}

TEST_CASE(
    "random policies and hostile headers: attempts never run backwards, and every message comes to rest") {
  const std::uint64_t seed = test_seed();
  INFO("WARREN_TEST_SEED=" << seed);
  std::mt19937_64 random(seed);
  const auto below = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  };
  const auto number = [&]() -> std::int64_t {
    const std::int64_t edges[] = {
        0, 1, -1, 7, most, most - 1, std::numeric_limits<std::int64_t>::min(), now_ms, now_ms - 5'000};
    return below(2) == 0 ? edges[below(9)] : static_cast<std::int64_t>(random());
  };
  const auto value = [&]() -> FieldValue {
    switch (below(6)) {
      case 0:
        return FieldValue("many");
      case 1:
        return FieldValue(FieldArray{1, "two"});
      case 2:
        return FieldValue(static_cast<std::uint32_t>(random()));
      case 3:
        return FieldValue(true);
      default:
        return FieldValue(number());
    }
  };
  for (int round = 0; round < 3'000; ++round) {
    INFO("round " << round);
    RetryOptions options{
        .max_attempts = static_cast<std::uint32_t>(below(below(4) == 0 ? 4'000'000'000 : 8) + 1),
        .runs_in_place = static_cast<std::uint32_t>(below(below(4) == 0 ? 4'000'000'000 : 3)),
        .jitter = static_cast<double>(below(100)) / 100};
    if (below(3) == 0)
      options.deadline = std::chrono::milliseconds(below(below(2) == 0 ? most : 100'000) + 1);
    Delays delays;
    for (std::int64_t i = below(16) + 1; i > 0; --i) {
      delays.emplace_back(below(below(3) == 0 ? 4'294'967'295 : 5'000) + 1);
    }
    const RetryPolicy policy = RetryPolicy::delays(delays, options);
    CHECK(policy.topology("orders").queues.size() == policy.distinct_delays().size() + 1);

    FieldTable headers;
    for (const char* key : {"retry-attempt", "retry-queue-attempt", "retry-first-failure-at", "retry-due-at",
                            "retry-original-expiration", "x-death", "x-delivery-count"}) {
      if (below(2) == 0) headers.append(key, value());
    }
    std::int64_t attempt = 0;
    std::int64_t here = 0;
    std::int64_t first = most;
    for (int hop = 0; hop < 12; ++hop) {
      const Failure failure{.runs = static_cast<std::uint32_t>(below(3)) + 1};
      const Delivery from = delivery(headers);
      (void)retry::run_again_in_place(policy, from, failure, now);
      const Copy copy = retry::make_copy(policy, "orders", from, failure, now + hop * 1s, "host-1");
      const FieldTable& after = headers_of(copy);
      REQUIRE(integer(after, "retry-attempt") >= std::max<std::int64_t>(attempt, 1));
      REQUIRE(integer(after, "retry-queue-attempt") >= std::max<std::int64_t>(here, 1));
      REQUIRE((hop == 0 || integer(after, "retry-first-failure-at") == first));
      attempt = integer(after, "retry-attempt");
      here = integer(after, "retry-queue-attempt");
      first = integer(after, "retry-first-failure-at");
      REQUIRE((copy.parked || here < options.max_attempts));
      if (copy.parked) break;
      REQUIRE(std::ranges::any_of(policy.distinct_delays(), [&](std::chrono::milliseconds delay) {
        return copy.queue == RetryPolicy::wait_queue("orders", delay);
      }));
      const std::int64_t due = integer(after, "retry-due-at");
      REQUIRE(due >= now_ms + hop * 1'000);
      REQUIRE(due <= now_ms + hop * 1'000 + policy.distinct_delays().back().count());
      if (options.deadline) REQUIRE(due - first <= options.deadline->count());
      headers = after;
    }
  }
}

TEST_CASE("what a delay lacks of its last millisecond is waited for, and another clock is not") {
  using Moment = std::chrono::system_clock::time_point;
  using std::chrono::system_clock;
  const Moment due{std::chrono::milliseconds(now_ms)};
  const auto left = [&](system_clock::duration ahead) {
    return retry::left_of_delay({{"retry-due-at", now_ms}}, due - ahead);
  };
  CHECK(left(1ms) == 2ms);
  CHECK(left(300us) == 1300us);
  CHECK(left(0ms) == 1ms);
  CHECK(left(-999us) == 1us);
  CHECK(left(-1ms) == 0ms);
  CHECK(left(-1h) == 0ms);
  CHECK(left(1ms + 1us) == 0ms);
  CHECK(left(1h) == 0ms);
  CHECK(retry::left_of_delay({}, due) == 0ms);
  for (const std::int64_t hostile :
       {std::numeric_limits<std::int64_t>::max(), std::int64_t{-1}, std::int64_t{0}})
    CHECK(retry::left_of_delay({{"retry-due-at", hostile}}, due) == 0ms);
  CHECK(retry::left_of_delay({{"retry-due-at", "soon"}}, due) == 0ms);
}
