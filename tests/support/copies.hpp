#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <warren/delivery.hpp>
#include <warren/field_table.hpp>

#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "support/catch.hpp"

/// @file
/// Deliveries without a broker, and what the copies of them say.
namespace support {

inline constexpr std::int64_t now_ms = 1'700'000'000'123;
inline const std::chrono::system_clock::time_point now{std::chrono::milliseconds(now_ms)};
inline constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

inline warren::Delivery delivery(warren::FieldTable headers = {}, std::string exchange = "shop",
                                 std::string routing_key = "order.new") {
  warren::Delivery out;
  warren::engine::DeliveryAccess::message(out).properties().headers = std::move(headers);
  warren::engine::DeliveryAccess::address(out, std::move(exchange), std::move(routing_key));
  return out;
}

inline const warren::FieldTable& headers_of(const warren::retry::Copy& copy) {
  return copy.message.properties().headers;
}

/// A header that must be there, written as a 64-bit integer.
inline std::int64_t integer(const warren::FieldTable& headers, std::string_view key) {
  INFO(key);
  const warren::FieldValue* value = headers.find(key);
  REQUIRE(value != nullptr);
  REQUIRE(value->get_if<std::int64_t>() != nullptr);
  return *value->get_if<std::int64_t>();
}

/// WARREN_TEST_SEED, or one drawn.
inline std::uint64_t test_seed() {
  if (const char* given = std::getenv("WARREN_TEST_SEED")) return std::strtoull(given, nullptr, 10);
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace support
