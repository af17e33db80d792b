#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <warren/field_table.hpp>
#include <warren/retry_policy.hpp>

#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "support/catch.hpp"
#include "support/copies.hpp"

namespace {

using namespace warren;
using namespace support;

class Hostile {
 public:
  explicit Hostile(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
  }

  std::string bytes(std::size_t longest) {
    std::string out(below(longest + 1), ' ');
    for (char& each : out) each = static_cast<char>(below(256));
    return out;
  }

  std::int64_t number() {
    constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
    const std::int64_t edges[] = {
        0, 1, 4, 5, -1, most, most - 1, least, least + 1, now_ms, std::int64_t{1} << 32};
    if (below(2) == 0) return edges[below(std::size(edges))];
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }

  FieldValue value(int depth = 0) {
    switch (below(depth < 3 ? 16 : 14)) {
      case 0:
        return {};
      case 1:
        return below(2) == 0;
      case 2:
        return static_cast<std::int8_t>(number());
      case 3:
        return static_cast<std::uint8_t>(number());
      case 4:
        return static_cast<std::int16_t>(number());
      case 5:
        return static_cast<std::uint16_t>(number());
      case 6:
        return static_cast<std::int32_t>(number());
      case 7:
        return static_cast<std::uint32_t>(number());
      case 8:
        return number();
      case 9:
        return 1e300 * static_cast<double>(number());
      case 10:
        return Decimal{static_cast<std::uint8_t>(number()), static_cast<std::uint32_t>(number())};
      case 11:
        return bytes(below(8) == 0 ? 20'000 : 300);
      case 12:
        return Binary{bytes(300)};
      case 13:
        return Timestamp(std::chrono::seconds(number()));
      case 14: {
        FieldArray out;
        for (std::size_t i = below(4); i > 0; --i) out.push_back(value(depth + 1));
        return out;
      }
      default: {
        FieldTable out;
        for (std::size_t i = below(4); i > 0; --i) out.append(bytes(20), value(depth + 1));
        return out;
      }
    }
  }

  FieldTable headers() {
    static const std::vector<std::string> keys = {"retry-id",
                                                  "retry-attempt",
                                                  "retry-queue-attempt",
                                                  "retry-first-failure-at",
                                                  "retry-reason",
                                                  "retry-error-type",
                                                  "retry-error-message",
                                                  "retry-last-failure-at",
                                                  "retry-host",
                                                  "retry-original-queue",
                                                  "retry-original-exchange",
                                                  "retry-original-routing-key",
                                                  "retry-original-cc",
                                                  "retry-policy",
                                                  "retry-original-user-id",
                                                  "retry-original-expiration",
                                                  "retry-crash-count",
                                                  "retry-due-at",
                                                  "CC",
                                                  "BCC",
                                                  "x-death",
                                                  "x-delivery-count",
                                                  "x-first-death-queue",
                                                  "x-acquired-count",
                                                  "retry-replay-count",
                                                  "retry-started-by"};
    FieldTable out;
    for (std::size_t i = below(30); i > 0; --i) {
      out.append(below(5) == 0 ? bytes(255) : keys[below(keys.size())], value());
    }
    return out;
  }

 private:
  std::mt19937_64 random_;
};

std::int64_t count_before(const FieldTable& headers, std::string_view key) {
  const FieldValue* value = headers.find(key);
  return value == nullptr ? 0 : std::max<std::int64_t>(value->as_integer().value_or(0), 0);
}

// What the headers that a copy writes come to, in bytes, a CC aside, which only moved.
std::size_t written_bytes(const FieldTable& headers) {
  std::size_t bytes = 0;
  for (const FieldEntry& entry : headers) {
    if (!entry.key.starts_with("retry-") || entry.key == "retry-original-cc") continue;
    if (entry.key.find("crash") != std::string::npos || entry.key.find("due") != std::string::npos ||
        entry.key.find("replay") != std::string::npos || entry.key.find("started") != std::string::npos) {
      continue;  // passed on
    }
    const auto string = entry.value.as_string();
    bytes += entry.key.size() + (string ? string->size() : 8);
  }
  return bytes;
}

}  // namespace

TEST_CASE("hostile headers never throw, count backwards or overflow, and every message comes to rest") {
  const std::uint64_t seed = test_seed();
  INFO("WARREN_TEST_SEED=" << seed);
  Hostile hostile(seed);
  for (int round = 0; round < 3'000; ++round) {
    INFO("round " << round);
    const std::uint32_t max_attempts = static_cast<std::uint32_t>(hostile.below(6)) + 1;
    const RetryPolicy policy = RetryPolicy::to_queue("q", {.max_attempts = max_attempts});
    Delivery current;
    engine::DeliveryAccess::message(current).properties().headers = hostile.headers();
    engine::DeliveryAccess::address(current, hostile.bytes(255), hostile.bytes(255));
    for (std::uint32_t hop = 1;; ++hop) {
      REQUIRE(hop <= max_attempts);
      const FieldTable before = current.headers();
      const retry::Failure failure{.error_type = hostile.bytes(2'000),
                                   .error_message = hostile.bytes(5'000),
                                   .runs = static_cast<std::uint32_t>(hostile.below(2)) + 1};
      const bool again = retry::run_again_in_place(RetryPolicy::immediate({.max_attempts = max_attempts}),
                                                   current, failure, now);
      const retry::Copy copy = retry::make_copy(policy, "q", current, failure, now, "host-1");
      const FieldTable& after = copy.message.properties().headers;

      const std::int64_t attempt = integer(after, "retry-attempt");
      const std::int64_t had = count_before(before, "retry-attempt");
      REQUIRE(attempt >= failure.runs);
      REQUIRE(attempt == (had > most - failure.runs ? most : had + failure.runs));
      const std::int64_t here = integer(after, "retry-queue-attempt");
      REQUIRE(here >= failure.runs);
      REQUIRE(here >= count_before(before, "retry-queue-attempt"));
      REQUIRE(copy.parked == (here >= max_attempts));
      REQUIRE(again == !copy.parked);

      REQUIRE(integer(after, "retry-first-failure-at") >= 0);
      REQUIRE(integer(after, "retry-first-failure-at") <= now_ms);
      REQUIRE(after.find("retry-id") != nullptr);
      REQUIRE_FALSE(after.find("retry-id")->as_string().value_or("").empty());
      REQUIRE(retry::original_address(after).has_value());
      REQUIRE_FALSE(after.contains("CC"));
      REQUIRE_FALSE(after.contains("BCC"));
      REQUIRE_FALSE(after.contains("x-death"));
      REQUIRE(written_bytes(after) < 8'192);
      if (copy.parked) break;
      engine::DeliveryAccess::message(current) = copy.message;
      engine::DeliveryAccess::address(current, "", copy.queue);
    }
  }
}
