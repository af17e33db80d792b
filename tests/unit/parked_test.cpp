#include "parking/parked.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <warren/field_table.hpp>

#include "support/catch.hpp"

namespace {

using namespace warren;
using namespace std::chrono_literals;
using Moment = std::chrono::system_clock::time_point;

constexpr std::int64_t failed_ms = 1'700'000'000'123;
const Moment failed{std::chrono::milliseconds(failed_ms)};

FieldTable death(std::string_view queue, std::string_view reason) {
  return {{"count", 1},
          {"reason", std::string(reason)},
          {"queue", std::string(queue)},
          {"time", Timestamp(1'700'000'000s)},
          {"exchange", "shop"},
          {"routing-keys", FieldArray{"new", "other"}}};
}

FieldTable copy_headers() {
  return {{"mine", "kept"},
          {"retry-id", "7"},
          {"retry-attempt", 5},
          {"retry-queue-attempt", 4},
          {"retry-crash-count", 2},
          {"retry-started-by", "somebody"},
          {"retry-replay-count", 2},
          {"retry-first-failure-at", failed_ms - 1'000},
          {"retry-last-failure-at", failed_ms},
          {"retry-due-at", failed_ms},
          {"retry-reason", "max-attempts"},
          {"retry-error-type", "std::runtime_error"},
          {"retry-error-message", "on purpose"},
          {"retry-original-queue", "orders"},
          {"retry-original-exchange", "shop"},
          {"retry-original-routing-key", "new"},
          {"retry-original-expiration", 60'000},
          {"retry-host", "here"},
          {"retry-policy", "five"},
          {"traceparent", "00-1-2-01"}};
}

ParkedMessage read(FieldTable headers) {
  return parking::read_parked(Message("body", {.headers = std::move(headers)}), "");
}

TEST_CASE("a copy tells why it is parked and where it came from") {
  const ParkedMessage parked = read(copy_headers());
  CHECK(parked.message.body() == "body");
  CHECK(parked.reason == "max-attempts");
  CHECK(parked.queue == "orders");
  CHECK(parked.exchange == "shop");
  CHECK(parked.routing_key == "new");
  CHECK(parked.error_type == "std::runtime_error");
  CHECK(parked.error_message == "on purpose");
  CHECK(parked.attempts == 5);
  CHECK(parked.replays == 2);
  CHECK(parked.first_failure == failed - 1s);
  CHECK(parked.last_failure == failed);
}

TEST_CASE("of what the broker dead-lettered, x-death tells") {
  const FieldTable older = death("before", "expired");
  const ParkedMessage parked = read({{"x-death", FieldArray{death("orders", "delivery_limit"), older}}});
  CHECK(parked.reason == "delivery_limit");
  CHECK(parked.queue == "orders");
  CHECK(parked.exchange == "shop");
  CHECK(parked.routing_key == "new");
  CHECK(parked.last_failure == Moment(1'700'000'000s));
  CHECK(parked.attempts == 0);
}

TEST_CASE("a copy that the broker dead-lettered later keeps its first queue, and has the broker's reason") {
  FieldTable headers = copy_headers();
  headers.set("x-death", FieldArray{death("orders_retry", "delivery_limit")});
  const ParkedMessage parked = read(std::move(headers));
  CHECK(parked.reason == "delivery_limit");
  CHECK(parked.queue == "orders");
  CHECK(parked.last_failure == Moment(1'700'000'000s));
}

TEST_CASE("headers that are not as they should be are not there") {
  const std::string long_text(2'000, 'x');
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (const FieldValue& value :
       {FieldValue(), FieldValue(true), FieldValue(-1), FieldValue(1.5), FieldValue(""),
        FieldValue(long_text), FieldValue(FieldTable{}), FieldValue(FieldArray{}),
        FieldValue(FieldArray{FieldTable{}}), FieldValue(FieldArray{FieldArray{}}),
        FieldValue(Timestamp(std::chrono::seconds(most)))}) {
    FieldTable headers;
    for (const FieldEntry& entry : copy_headers()) headers.append(entry.key, value);
    headers.append("x-death", value);
    const ParkedMessage parked = read(headers);
    CHECK(parked.queue.empty());
    CHECK(parked.reason.empty());
    CHECK(parked.error_message.empty());
    CHECK(parked.attempts == 0);
    CHECK(parked.replays == 0);
    CHECK_FALSE(parked.last_failure);
    CHECK(parking::make_replay(parked).properties().headers.find("retry-replay-count")->as_integer() == 1);

    FieldTable bad;
    for (const FieldEntry& entry : death("orders", "expired")) bad.append(entry.key, value);
    CHECK(read({{"x-death", FieldArray{bad}}}).queue.empty());
    CHECK_FALSE(read({{"x-death", FieldArray{bad}}}).last_failure);
  }
  CHECK_FALSE(read({{"retry-last-failure-at", most}}).last_failure);  // no system clock holds it
  CHECK(parking::make_replay(read({{"retry-replay-count", most}}))
            .properties()
            .headers.find("retry-replay-count")
            ->as_integer() == most);
}

TEST_CASE("a selection by reason, queue and age") {
  const ParkedMessage parked = read(copy_headers());
  CHECK(parking::matches({}, parked));
  CHECK(parking::matches({.reason = "max-attempts", .original_queue = "orders"}, parked));
  CHECK_FALSE(parking::matches({.reason = "crash"}, parked));
  CHECK_FALSE(parking::matches({.original_queue = "orders_retry"}, parked));
  CHECK(parking::matches({.failed_before = failed + 1ms}, parked));
  CHECK_FALSE(parking::matches({.failed_before = failed}, parked));
  CHECK(parking::matches({.failed_since = failed}, parked));
  CHECK_FALSE(parking::matches({.failed_since = failed + 1ms}, parked));
  CHECK(parking::matches({}, read({})));
  CHECK_FALSE(parking::matches({.failed_before = failed}, read({})));
  CHECK_FALSE(parking::matches({.failed_since = failed}, read({})));
}

TEST_CASE("54: a replay resets counts, moments and reasons, and keeps the rest") {
  ParkedMessage parked = read(copy_headers());
  parked.message.properties().message_id = "m7";
  parked.message.properties().priority = std::uint8_t{3};
  const Message replay = parking::make_replay(std::move(parked));
  CHECK(replay.body() == "body");
  CHECK(replay.properties().message_id == "m7");
  CHECK(replay.properties().priority == std::uint8_t{3});
  CHECK(replay.properties().delivery_mode == DeliveryMode::persistent);
  CHECK_FALSE(replay.properties().expiration);
  const FieldTable expected{{"mine", "kept"},
                            {"retry-id", "7"},
                            {"retry-replay-count", std::int64_t{3}},
                            {"retry-original-queue", "orders"},
                            {"retry-original-exchange", "shop"},
                            {"retry-original-routing-key", "new"},
                            {"retry-original-expiration", 60'000},
                            {"traceparent", "00-1-2-01"}};
  CHECK(replay.properties().headers == expected);
}

TEST_CASE("a replay of what the broker dead-lettered knows its origin, and nothing that the broker acts on") {
  FieldTable event = death("orders", "delivery_limit");
  event.append("original-expiration", "60000");
  const FieldTable headers{{"x-death", FieldArray{event}},  {"x-first-death-queue", "orders"},
                           {"x-last-death-reason", "what"}, {"x-delivery-count", 21},
                           {"CC", FieldArray{"another"}},   {"mine", "kept"}};
  const Message replay =
      parking::make_replay(parking::read_parked(Message("body", {.headers = headers, .user_id = "guest"}), ""));
  CHECK_FALSE(replay.properties().user_id);
  const FieldTable expected{{"mine", "kept"},
                            {"retry-replay-count", std::int64_t{1}},
                            {"retry-original-queue", "orders"},
                            {"retry-original-exchange", "shop"},
                            {"retry-original-routing-key", "new"},
                            {"retry-original-expiration", std::int64_t{60'000}},
                            {"retry-original-user-id", "guest"},
                            {"retry-original-cc", FieldArray{"another"}}};
  CHECK(replay.properties().headers == expected);
}

}  // namespace
