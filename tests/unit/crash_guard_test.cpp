#include "consumer/crash_guard.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "engine/delivery_access.hpp"
#include "retry/failure.hpp"
#include "support/catch.hpp"

namespace {

using namespace warren;
using namespace std::chrono_literals;
using retry::Copy;
using consumer::CrashGuard;
using Step = CrashGuard::Step;

Delivery delivery(Message message, bool redelivered = false) {
  Delivery made;
  engine::DeliveryAccess::message(made) = std::move(message);
  engine::DeliveryAccess::address(made, "shop", "new");
  engine::DeliveryAccess::redelivered(made, redelivered);
  return made;
}

std::int64_t starts(const Message& message) {
  const FieldValue* value = message.properties().headers.find("retry-crash-count");
  return value == nullptr ? 0 : value->as_integer().value_or(-1);
}

bool is_recorded(const Message& message) { return message.properties().headers.contains("retry-started-by"); }

struct Fixture {
  CrashGuard guard{"orders", {.limit = 3}, "this"};
  CrashGuard other{"orders", {.limit = 3}, "that"};
  Fixture() {
    guard.subscribing();
    other.subscribing();
  }
};

TEST_CASE("a suspect is nobody's start, and keeps what its original had") {
  Fixture f;
  const Message original("body", {.headers = {{"mine", "kept"},
                                              {"retry-crash-count", 9},
                                              {"retry-started-by", "a stranger"},
                                              {"x-delivery-count", 7},
                                              {"CC", FieldArray{"another"}}},
                                  .priority = std::uint8_t{7},
                                  .expiration = 60'000ms,
                                  .message_id = "m7",
                                  .user_id = "guest"});
  const Copy suspect = f.guard.suspect(delivery(original, true));
  CHECK(suspect.queue == "orders_suspect");
  const Properties& properties = suspect.message.properties();
  CHECK(suspect.message.body() == "body");
  CHECK(properties.message_id == "m7");
  CHECK(properties.delivery_mode == DeliveryMode::persistent);
  CHECK(properties.priority == std::uint8_t{0});
  CHECK_FALSE(properties.expiration);
  CHECK_FALSE(properties.user_id);
  const FieldTable expected{{"mine", "kept"},
                            {"retry-original-queue", "orders"},
                            {"retry-original-exchange", "shop"},
                            {"retry-original-routing-key", "new"},
                            {"retry-original-expiration", std::int64_t{60'000}},
                            {"retry-original-user-id", "guest"},
                            {"retry-original-cc", FieldArray{"another"}},
                            {"retry-original-priority", std::int64_t{7}}};
  CHECK(properties.headers == expected);

  Delivery handled = delivery(f.guard.record(delivery(suspect.message)).message);
  CrashGuard::restore(handled);
  CHECK(handled.properties().priority == std::uint8_t{7});
  CHECK_FALSE(handled.headers().contains("retry-original-priority"));
}

TEST_CASE("a start is written down first, then handled; those that never ended park it at the limit") {
  Fixture f;
  Message message = f.guard.suspect(delivery(Message("body"), true)).message;
  for (std::int64_t start = 1; start <= 3; ++start) {
    CAPTURE(start);
    REQUIRE(f.guard.step(delivery(message, start > 1)) == Step::record);
    const Copy recorded = f.guard.record(delivery(message));
    CHECK(recorded.queue == "orders_suspect");
    CHECK(recorded.message.properties().priority == std::uint8_t{1});  // ahead of those without a start
    message = recorded.message;
    CHECK(starts(message) == start);
    CHECK(f.guard.step(delivery(message)) == Step::handle);
    CHECK(f.other.step(delivery(message)) == Step::handle);
  }
  CHECK(f.guard.step(delivery(message, true)) == Step::park);
  const retry::Failure crash = CrashGuard::crash(delivery(message, true));
  CHECK(crash.reason == retry::Reason::crash);
  CHECK(std::string(retry::to_string(crash.reason)) == "crash");
  CHECK(crash.runs == 3);
}

TEST_CASE("a start that this instance wrote down before it subscribed anew is not counted") {
  Fixture f;
  const Message message = f.guard.record(delivery(Message("body"))).message;
  CHECK(f.guard.step(delivery(message, true)) == Step::record);  // another consumer had it, and died
  f.guard.subscribing();
  CHECK(f.guard.step(delivery(message, true)) == Step::handle);
  CHECK(f.other.step(delivery(message, true)) == Step::record);
  CHECK(CrashGuard("orders", {}, "thi").step(delivery(message, true)) == Step::record);
}

TEST_CASE("a start that did not happen is taken back") {
  Fixture f;
  const Message first = f.guard.record(delivery(Message("body"))).message;
  const Message second = f.guard.record(delivery(first)).message;
  const Copy back = f.guard.take_back(delivery(second));
  CHECK(back.queue == "orders_suspect");
  CHECK(starts(back.message) == 1);
  CHECK_FALSE(is_recorded(back.message));
  CHECK(back.message.properties().priority == std::uint8_t{0});
  CHECK(f.other.step(delivery(back.message, true)) == Step::record);
  CHECK(starts(f.other.record(delivery(back.message)).message) == 2);
}

TEST_CASE("a suspect that is cleared goes back to its queue as it was") {
  Fixture f;
  Message original("body", {.headers = {{"mine", "kept"}}, .priority = std::uint8_t{4}});
  const Message recorded =
      f.guard.record(delivery(f.guard.suspect(delivery(original, true)).message)).message;
  Delivery restored = delivery(recorded);
  CrashGuard::restore(restored);
  const Copy cleared = f.guard.clear(restored);
  CHECK(cleared.queue == "orders");
  CHECK(starts(cleared.message) == 0);
  CHECK_FALSE(is_recorded(cleared.message));
  CHECK(cleared.message.properties().priority == std::uint8_t{4});
}

TEST_CASE("counts that anybody may have written neither overflow nor go below none") {
  Fixture f;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (const FieldValue& value : {FieldValue(most), FieldValue(-1), FieldValue("many"),
                                  FieldValue(FieldTable{}), FieldValue(1.5), FieldValue()}) {
    const Message hostile("body", {.headers = {{"retry-crash-count", value},
                                               {"retry-started-by", "a stranger"},
                                               {"retry-original-priority", value}}});
    CHECK(starts(f.guard.record(delivery(hostile)).message) <= 4);
    CHECK(starts(f.guard.record(delivery(hostile)).message) >= 1);
    CHECK(starts(f.guard.take_back(delivery(hostile)).message) >= 0);
    CHECK(CrashGuard::crash(delivery(hostile)).reason == retry::Reason::crash);
    Delivery restored = delivery(hostile);
    CrashGuard::restore(restored);
    CHECK_FALSE(restored.properties().priority);
  }
  const Message odd("body", {.headers = {{"retry-started-by", FieldTable{}}}});
  CHECK(f.guard.step(delivery(odd, true)) == Step::record);
}

}  // namespace
