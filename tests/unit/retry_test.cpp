#include <warren/retry_policy.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <warren/error.hpp>
#include <warren/outcome.hpp>

#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "retry/failure.hpp"
#include "retry/text.hpp"
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

Delivery delivered(const Copy& copy) {
  Delivery out;
  DeliveryAccess::message(out) = copy.message;
  DeliveryAccess::address(out, "", copy.queue);
  return out;
}

Copy copy_of(const Delivery& from, const Failure& failure = {},
             const RetryPolicy& policy = RetryPolicy::to_queue("orders_retry"),
             const std::string& queue = "orders") {
  return retry::make_copy(policy, queue, from, failure, now, "host-1");
}

std::string text(const FieldTable& headers, std::string_view key) {
  INFO(key);
  const FieldValue* value = headers.find(key);
  REQUIRE(value != nullptr);
  REQUIRE(value->get_if<std::string>() != nullptr);
  return *value->get_if<std::string>();
}

template <typename Thrown>
Failure described(const Thrown& thrown) {
  return retry::describe(std::make_exception_ptr(thrown), 3);
}

bool is_uuid_v4(std::string_view id) {
  constexpr std::string_view pattern = "xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
  return std::ranges::equal(id, pattern, [](char c, char expected) {
    if (expected == 'x') return std::string_view("0123456789abcdef").find(c) != std::string_view::npos;
    if (expected == 'v') return std::string_view("89ab").find(c) != std::string_view::npos;
    return c == expected;
  });
}

class OwnPark : public Park {
 public:
  using Park::Park;
};

struct Speechless : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};

}  // namespace

// The policy.

TEST_CASE("a retry policy is a value: none by default, compared by its settings") {
  CHECK(RetryPolicy() == RetryPolicy::none());
  CHECK(RetryPolicy().shape() == RetryPolicy::Shape::none);
  CHECK(RetryPolicy::immediate() == RetryPolicy::immediate({.max_attempts = 5}));
  CHECK_FALSE(RetryPolicy::immediate() == RetryPolicy::none());
  CHECK_FALSE(RetryPolicy::immediate() == RetryPolicy::immediate({.max_attempts = 4}));
  CHECK_FALSE(RetryPolicy::to_queue("a") == RetryPolicy::to_queue("b"));
  CHECK(RetryPolicy::to_queue("a").queue() == "a");
  CHECK(RetryPolicy::immediate().queue().empty());
}

TEST_CASE("a retry policy names its parked queue after the consumer's, unless told") {
  CHECK(RetryPolicy::none().parked_queue("orders").empty());
  CHECK(RetryPolicy::immediate().parked_queue("orders") == "orders_parked");
  CHECK(RetryPolicy::to_queue("r", {.parked_queue = "p"}).parked_queue("orders") == "p");
}

TEST_CASE("a retry policy tells in a line what it does") {
  CHECK(to_string(RetryPolicy::none()) == "none");
  CHECK(to_string(RetryPolicy::immediate()) == "immediate(max_attempts=5)");
  CHECK(to_string(RetryPolicy::to_queue("orders_retry")) == "to_queue(orders_retry, max_attempts=5)");
  CHECK(to_string(RetryPolicy::to_queue(
            "r", {.max_attempts = 9, .runs_in_place = 2, .parked_queue = "p", .exchange = "x"})) ==
        "to_queue(r, max_attempts=9, runs_in_place=2, parked_queue=p, exchange=x)");
}

TEST_CASE("a retry policy that can't be right is refused") {
  const std::string longest(255, 'q');
  const std::string longer(256, 'q');
  CHECK_NOTHROW(RetryPolicy::to_queue(longest, {.parked_queue = "p", .exchange = longest, .name = longest}));
  CHECK_THROWS_AS(RetryPolicy::immediate({.max_attempts = 0}), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::to_queue("r", {.max_attempts = 0}), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::to_queue(""), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::to_queue("orders_parked").topology("orders"), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::to_queue(longer), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::immediate({.parked_queue = longer}), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::immediate({.exchange = longer}), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::immediate({.name = longer}), InvalidArgument);
  CHECK_THROWS_AS(RetryPolicy::to_queue("r", {.parked_queue = "r"}), InvalidArgument);
}

// What a handler threw.

TEST_CASE("a failure is told from what the handler threw, whatever it is") {
  const Failure error = described(std::out_of_range("too far"));
  CHECK(error.reason == Reason::exception);
  CHECK(error.error_type == "std::out_of_range");
  CHECK(error.error_message == "too far");
  CHECK(error.runs == 3);

  CHECK(described(Park("no such item")).reason == Reason::rejected);
  CHECK(described(Park("no such item")).error_message == "no such item");
  CHECK(described(Park("x")).error_type.find("Park") != std::string::npos);
  CHECK(described(OwnPark("x")).reason == Reason::rejected);
  CHECK(described(OwnPark("x")).error_type.find("OwnPark") != std::string::npos);
  CHECK(described(Undecodable("no JSON")).reason == Reason::undecodable);
  CHECK(described(Undecodable("no JSON")).error_message == "no JSON");

  CHECK(described(42).reason == Reason::exception);
  CHECK(described(42).error_type == "int");
  CHECK(described(42).error_message == "an exception that is no std::exception: int");
  CHECK(described(std::string("text")).error_message == "text");
  CHECK(described(static_cast<const char*>("text")).error_message == "text");
  CHECK(described(static_cast<const char*>(nullptr)).error_message.empty());
  CHECK(described(Speechless{}).error_message.empty());
  CHECK(retry::describe(nullptr, 1).error_type.empty());
}

TEST_CASE("reasons have the words of the header") {
  CHECK(std::string(retry::to_string(Reason::exception)) == "exception");
  CHECK(std::string(retry::to_string(Reason::timeout)) == "timeout");
  CHECK(std::string(retry::to_string(Reason::rejected)) == "rejected");
  CHECK(std::string(retry::to_string(Reason::undecodable)) == "undecodable");
  CHECK(std::string(retry::to_string(Reason::max_attempts)) == "max-attempts");
}

// The headers of a copy.

TEST_CASE("the copy of a first failure has every header, and the user's own ahead of them") {
  Delivery from = delivery({{"traceparent", "00-ab-cd-01"}, {"n", 7}});
  DeliveryAccess::message(from).properties().message_id = "m-1";
  const Copy copy = copy_of(from, {.error_type = "std::runtime_error", .error_message = "no", .runs = 2});
  CHECK(copy.queue == "orders_retry");
  CHECK_FALSE(copy.parked);
  CHECK(headers_of(copy) == FieldTable{{"traceparent", "00-ab-cd-01"},
                                       {"n", 7},
                                       {"retry-id", "m-1"},
                                       {"retry-attempt", std::int64_t{2}},
                                       {"retry-queue-attempt", std::int64_t{0}},
                                       {"retry-first-failure-at", now_ms},
                                       {"retry-last-failure-at", now_ms},
                                       {"retry-reason", "exception"},
                                       {"retry-error-type", "std::runtime_error"},
                                       {"retry-error-message", "no"},
                                       {"retry-original-queue", "orders"},
                                       {"retry-original-exchange", "shop"},
                                       {"retry-original-routing-key", "order.new"},
                                       {"retry-host", "host-1"},
                                       {"retry-policy", "to_queue(orders_retry, max_attempts=5)"}});
}

TEST_CASE("a copy keeps body and properties, and is persistent") {
  Delivery from = delivery({{"h", true}});
  const Properties properties{.content_type = "application/json",
                              .content_encoding = "gzip",
                              .headers = {{"h", true}},
                              .delivery_mode = DeliveryMode::transient,
                              .priority = std::uint8_t{4},
                              .correlation_id = "c",
                              .reply_to = "r",
                              .message_id = "m",
                              .timestamp = Timestamp(5s),
                              .type = "t",
                              .app_id = "a",
                              .cluster_id = "cl"};
  DeliveryAccess::message(from) = Message(std::string("\0body\xFF", 6), properties);
  Copy copy = copy_of(from);
  CHECK(copy.message.body() == std::string_view("\0body\xFF", 6));
  Properties expected = properties;
  expected.delivery_mode = DeliveryMode::persistent;
  expected.headers = headers_of(copy);
  CHECK(copy.message.properties() == expected);
}

TEST_CASE("what the broker would read as its own word is stripped, user headers in x- are kept") {
  const FieldArray deaths{FieldTable{{"queue", "orders"}, {"count", std::int64_t{9}}}};
  const Copy copy = copy_of(delivery({{"x-death", deaths},
                                      {"x-first-death-queue", "a"},
                                      {"x-first-death-reason", "expired"},
                                      {"x-last-death-exchange", "b"},
                                      {"x-delivery-count", 99},
                                      {"x-acquired-count", 99},
                                      {"CC", FieldArray{"other"}},
                                      {"BCC", FieldArray{"hidden"}},
                                      {"cc", "the user's own"},
                                      {"x-tenant", "t"},
                                      {"x-death-note", "kept"}}));
  CHECK_FALSE(copy.parked);
  std::vector<std::string> users;
  for (const FieldEntry& entry : headers_of(copy)) {
    if (!entry.key.starts_with("retry-")) users.push_back(entry.key);
  }
  CHECK(users == std::vector<std::string>{"cc", "x-tenant", "x-death-note"});
  CHECK(integer(headers_of(copy), "retry-attempt") == 1);
}

TEST_CASE("user id, expiration and CC leave the copy, and are kept in headers") {
  Delivery from = delivery({{"CC", FieldArray{"audit", 5, "billing"}}});
  DeliveryAccess::message(from).properties().user_id = "guest";
  DeliveryAccess::message(from).properties().expiration = 60s;
  const Copy copy = copy_of(from);
  CHECK_FALSE(copy.message.properties().user_id.has_value());
  CHECK_FALSE(copy.message.properties().expiration.has_value());
  CHECK_FALSE(headers_of(copy).contains("CC"));
  CHECK(text(headers_of(copy), "retry-original-user-id") == "guest");
  CHECK(integer(headers_of(copy), "retry-original-expiration") == 60'000);
  CHECK(*headers_of(copy).find("retry-original-cc") == FieldValue(FieldArray{"audit", "billing"}));

  const Copy again = copy_of(delivered(copy), {}, RetryPolicy::to_queue("orders_retry"), "orders_retry");
  CHECK(text(headers_of(again), "retry-original-user-id") == "guest");
  CHECK(integer(headers_of(again), "retry-original-expiration") == 60'000);
  CHECK(*headers_of(again).find("retry-original-cc") == FieldValue(FieldArray{"audit", "billing"}));
}

TEST_CASE("a later failure counts on, tells of itself, and keeps what the first one wrote") {
  const Copy first = copy_of(delivery(), {.error_type = "A", .error_message = "first"});
  const auto later = now + 5s;
  const Copy second =
      retry::make_copy(RetryPolicy::to_queue("orders_retry", {.name = "patient"}), "orders_retry",
                       delivered(first), {.error_message = "second", .runs = 2}, later, "host-2");
  const FieldTable& headers = headers_of(second);
  CHECK(text(headers, "retry-id") == text(headers_of(first), "retry-id"));
  CHECK(integer(headers, "retry-attempt") == 3);
  CHECK(integer(headers, "retry-queue-attempt") == 2);
  CHECK(integer(headers, "retry-first-failure-at") == now_ms);
  CHECK(integer(headers, "retry-last-failure-at") == now_ms + 5'000);
  CHECK_FALSE(headers.contains("retry-error-type"));  // the first one's would be a lie
  CHECK(text(headers, "retry-error-message") == "second");
  CHECK(text(headers, "retry-original-queue") == "orders");
  CHECK(text(headers, "retry-original-exchange") == "shop");
  CHECK(text(headers, "retry-original-routing-key") == "order.new");
  CHECK(text(headers, "retry-host") == "host-2");
  CHECK(text(headers, "retry-policy") == "patient");
}

TEST_CASE("a copy keeps the count of replays, and forgets starts that never ended: this one did") {
  const Copy copy =
      copy_of(delivery({{"retry-started-by", "s"}, {"retry-crash-count", 2}, {"retry-replay-count", 3}}));
  CHECK_FALSE(headers_of(copy).contains("retry-started-by"));
  CHECK_FALSE(headers_of(copy).contains("retry-crash-count"));
  CHECK(*headers_of(copy).find("retry-replay-count") == FieldValue(3));
}

TEST_CASE("a message without an id gets a random UUID, from any thread") {
  CHECK(is_uuid_v4(text(headers_of(copy_of(delivery())), "retry-id")));
  Delivery empty = delivery();
  DeliveryAccess::message(empty).properties().message_id = "";
  CHECK(is_uuid_v4(text(headers_of(copy_of(empty)), "retry-id")));

  std::set<std::string> ids;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 250; ++j) {
        std::string id = retry::random_uuid();
        const std::lock_guard lock(mutex);
        ids.insert(std::move(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(ids.size() == 1'000);
  CHECK(std::ranges::all_of(ids, is_uuid_v4));
}

TEST_CASE("error text is cut at 1 KiB, never within a character, and is UTF-8") {
  const auto message = [](std::string of) {
    const Copy copy = copy_of(delivery(), {.error_message = std::move(of)});
    return text(headers_of(copy), "retry-error-message");
  };
  CHECK(message(std::string(1'024, 'x')) == std::string(1'024, 'x'));
  CHECK(message(std::string(1'025, 'x')) == std::string(1'024, 'x'));
  CHECK(message(std::string(1 << 20, 'x')).size() == 1'024);
  struct Character {
    std::string bytes;
    std::size_t room;  // what the cut leaves of 1,024 bytes behind one of padding
  };
  for (const Character& character : {Character{"é", 1'023}, Character{"€", 1'024}, Character{"😀", 1'021}}) {
    std::string long_text = "x";
    for (int i = 0; i < 1'000; ++i) long_text += character.bytes;
    const std::string cut = message(long_text);
    CHECK(cut.size() == character.room);
    CHECK(cut == long_text.substr(0, character.room));
  }
  CHECK(message("caf\xE9!") == "caf\xEF\xBF\xBD!");                          // Latin-1
  CHECK(message("\xC0\xAF") == "\xEF\xBF\xBD\xEF\xBF\xBD");                  // overlong
  CHECK(message("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  CHECK(message("\xF4\x90\x80\x80").size() == 12);                           // above U+10FFFF
  CHECK(message("\xE2\x82") == "\xEF\xBF\xBD\xEF\xBF\xBD");                  // ends too early
  CHECK(message(std::string(1 << 16, '\xFF')).size() == 1'023);
  const Copy typed = copy_of(delivery(), {.error_type = std::string(5'000, 'T')});
  CHECK(text(headers_of(typed), "retry-error-type").size() == 255);
}

// The decision.

TEST_CASE("where a failed message goes") {
  struct Row {
    RetryPolicy policy;
    std::string consumed;
    std::int64_t had;  // runs on this queue so far
    std::uint32_t runs;
    Reason reason;
    std::string queue;
    bool parked;
    Reason told;
    std::int64_t queue_attempt;
  };
  const RetryPolicy other = RetryPolicy::to_queue("retry", {.max_attempts = 3});
  const RetryPolicy own = RetryPolicy::to_queue("q", {.max_attempts = 3, .parked_queue = "p"});
  const RetryPolicy immediate = RetryPolicy::immediate({.max_attempts = 3});
  const std::vector<Row> rows = {
      {other, "q", 0, 1, Reason::exception, "retry", false, Reason::exception, 0},
      {other, "q", 1, 1, Reason::exception, "retry", false, Reason::exception, 0},
      {other, "q", 2, 1, Reason::exception, "q_parked", true, Reason::max_attempts, 3},
      {other, "q", 0, 1, Reason::timeout, "retry", false, Reason::timeout, 0},
      {other, "q", 2, 1, Reason::timeout, "q_parked", true, Reason::max_attempts, 3},
      {own, "q", 0, 1, Reason::exception, "q", false, Reason::exception, 1},
      {own, "q", 1, 1, Reason::exception, "q", false, Reason::exception, 2},
      {own, "q", 2, 1, Reason::exception, "p", true, Reason::max_attempts, 3},
      {own, "q", 0, 3, Reason::exception, "p", true, Reason::max_attempts, 3},
      {own, "q", 7, 1, Reason::exception, "p", true, Reason::max_attempts, 8},
      {own, "q", 0, 1, Reason::rejected, "p", true, Reason::rejected, 1},
      {own, "q", 2, 1, Reason::undecodable, "p", true, Reason::undecodable, 3},
      {immediate, "q", 0, 3, Reason::exception, "q_parked", true, Reason::max_attempts, 3},
      {immediate, "q", 0, 1, Reason::rejected, "q_parked", true, Reason::rejected, 1},
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    INFO("row " << i);
    const Copy copy = copy_of(delivery({{"retry-queue-attempt", row.had}}),
                              {.reason = row.reason, .runs = row.runs}, row.policy, row.consumed);
    CHECK(copy.queue == row.queue);
    CHECK(copy.parked == row.parked);
    CHECK(copy.reason == row.told);
    CHECK(text(headers_of(copy), "retry-reason") == retry::to_string(row.told));
    CHECK(integer(headers_of(copy), "retry-queue-attempt") == row.queue_attempt);
  }
  CHECK_THROWS_AS(copy_of(delivery(), {}, RetryPolicy::none()), InvalidArgument);
}

TEST_CASE("runs in place: none, up to the maximum, or as many as asked for ahead of each copy") {
  const auto runs = [](const RetryPolicy& policy, std::int64_t had = 0) {
    const Delivery from = delivery({{"retry-queue-attempt", had}});
    std::uint32_t count = 1;
    while (retry::run_again_in_place(policy, from, {.runs = count}, now)) ++count;
    return count;
  };
  CHECK(runs(RetryPolicy::none()) == 1);
  CHECK(runs(RetryPolicy::immediate({.max_attempts = 4})) == 4);
  CHECK(runs(RetryPolicy::immediate({.max_attempts = 1})) == 1);
  CHECK(runs(RetryPolicy::to_queue("r")) == 1);
  CHECK(runs(RetryPolicy::to_queue("r", {.max_attempts = 5, .runs_in_place = 2})) == 3);
  CHECK(runs(RetryPolicy::to_queue("r", {.max_attempts = 5, .runs_in_place = 9})) == 5);
  CHECK(runs(RetryPolicy::to_queue("r", {.max_attempts = 5, .runs_in_place = 2}), 3) == 2);
  CHECK(runs(RetryPolicy::to_queue("r", {.max_attempts = 5, .runs_in_place = 2}), most) == 1);
  const std::uint32_t largest = std::numeric_limits<std::uint32_t>::max();
  CHECK_FALSE(retry::run_again_in_place(RetryPolicy::immediate({.max_attempts = largest}), delivery(),
                                        {.runs = largest}, now));
}

TEST_CASE("attempts over two queues are counted in both ways, and end in the parked queue") {
  Copy copy = copy_of(delivery(), {.runs = 1}, RetryPolicy::to_queue("orders_retry"), "orders");
  const RetryPolicy second =
      RetryPolicy::to_queue("orders_retry", {.max_attempts = 5, .parked_queue = "orders_parked"});
  int copies = 0;
  while (!copy.parked) {
    REQUIRE(++copies < 20);
    copy = copy_of(delivered(copy), {.runs = 1}, second, "orders_retry");
  }
  CHECK(copies == 5);
  CHECK(copy.queue == "orders_parked");
  CHECK(copy.reason == Reason::max_attempts);
  CHECK(integer(headers_of(copy), "retry-attempt") == 6);
  CHECK(integer(headers_of(copy), "retry-queue-attempt") == 5);
}

// Headers from anybody.

TEST_CASE("counts are read as any integer kind, and nothing else counts as one") {
  struct Row {
    FieldValue value;
    std::int64_t attempt;
  };
  for (const Row& row : std::vector<Row>{{std::int8_t{3}, 4},
                                         {std::uint8_t{200}, 201},
                                         {std::int16_t{300}, 301},
                                         {std::uint16_t{60'000}, 60'001},
                                         {std::int32_t{70'000}, 70'001},
                                         {std::uint32_t{4'000'000'000U}, 4'000'000'001},
                                         {std::int64_t{1} << 40, (std::int64_t{1} << 40) + 1},
                                         {most, most},
                                         {most - 1, most},
                                         {std::int64_t{-1}, 1},
                                         {std::numeric_limits<std::int64_t>::min(), 1},
                                         {"3", 1},
                                         {3.0, 1},
                                         {true, 1},
                                         {FieldValue(), 1},
                                         {Decimal{0, 3}, 1},
                                         {FieldArray{3}, 1},
                                         {FieldTable{{"n", 3}}, 1}}) {
    CHECK(integer(headers_of(copy_of(delivery({{"retry-attempt", row.value}}))), "retry-attempt") ==
          row.attempt);
  }
}

TEST_CASE("a first failure is never in the future") {
  const auto first = [](FieldValue value) {
    return integer(headers_of(copy_of(delivery({{"retry-first-failure-at", std::move(value)}}))),
                   "retry-first-failure-at");
  };
  CHECK(first(std::int64_t{17}) == 17);
  CHECK(first(now_ms + 1) == now_ms);
  CHECK(first(most) == now_ms);
  CHECK(first(std::int64_t{-1}) == now_ms);
  CHECK(first("yesterday") == now_ms);
}

TEST_CASE("the original address is read where both parts are there, and fit") {
  const auto read = [](FieldValue exchange, FieldValue key) {
    return retry::original_address(
        {{"retry-original-exchange", std::move(exchange)}, {"retry-original-routing-key", std::move(key)}});
  };
  CHECK(read("shop", "new") == retry::Origin{"shop", "new"});
  CHECK(read("", "orders") == retry::Origin{"", "orders"});
  CHECK(read(Binary{"shop"}, "new") == retry::Origin{"shop", "new"});
  CHECK(read("shop", std::string(255, 'k')).has_value());
  CHECK_FALSE(read("shop", std::string(256, 'k')).has_value());
  CHECK_FALSE(read(7, "new").has_value());
  CHECK_FALSE(read("shop", FieldTable{}).has_value());
  CHECK_FALSE(retry::original_address({{"retry-original-exchange", "shop"}}).has_value());
  CHECK_FALSE(retry::original_address({}).has_value());
}

TEST_CASE("half an original address is none: the delivery's own is written") {
  const Copy copy = copy_of(delivery({{"retry-original-exchange", "forged"}, {"retry-original-queue", 5}}));
  CHECK(text(headers_of(copy), "retry-original-exchange") == "shop");
  CHECK(text(headers_of(copy), "retry-original-routing-key") == "order.new");
  CHECK(text(headers_of(copy), "retry-original-queue") == "orders");
}

TEST_CASE("a key that comes twice is written once") {
  FieldTable twice;
  for (int i = 0; i < 3; ++i) {
    twice.append("retry-attempt", std::int64_t{i});
    twice.append("CC", FieldArray{"audit"});
    twice.append("x-death", i);
  }
  const Copy copy = copy_of(delivery(twice));
  const auto count = [&](std::string_view key) {
    return std::count_if(headers_of(copy).begin(), headers_of(copy).end(),
                         [&](const FieldEntry& entry) { return entry.key == key; });
  };
  CHECK(count("retry-attempt") == 1);
  CHECK(count("CC") == 0);
  CHECK(count("x-death") == 0);
}
