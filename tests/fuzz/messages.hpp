#pragma once

#include <array>
#include <chrono>
#include <string>
#include <string_view>

#include <warren/delivery.hpp>
#include <warren/field_table.hpp>
#include <warren/message.hpp>

#include "engine/delivery_access.hpp"
#include "fuzz.hpp"

/// @file
/// Messages made of a fuzzer's input, with the headers that warren and the broker read.
namespace fuzz {

inline std::int64_t odd_number(Input& input) {
  constexpr std::int64_t most = INT64_MAX;
  constexpr std::array<std::int64_t, 12> edges = {
      0,  1, 2, -1, most, most - 1, INT64_MIN, INT64_MIN + 1, 1'700'000'000'000, 4'294'967'295, 4'294'967'296,
      255};
  const std::size_t choice = input.below(edges.size() + 2);
  if (choice < edges.size()) return edges[choice];
  return choice == edges.size() ? input.byte() : input.number<std::int64_t>();
}

inline warren::FieldValue odd_value(Input& input, int depth = 0) {
  switch (input.below(depth < 4 ? 17 : 15)) {
    case 0:
      return {};
    case 1:
      return input.flag();
    case 2:
      return input.number<std::int8_t>();
    case 3:
      return input.number<std::uint8_t>();
    case 4:
      return input.number<std::int16_t>();
    case 5:
      return input.number<std::uint16_t>();
    case 6:
      return input.number<std::int32_t>();
    case 7:
      return input.number<std::uint32_t>();
    case 8:
    case 9:
      return odd_number(input);
    case 10:
      return static_cast<double>(input.number<std::int64_t>()) * 1e290;
    case 11:
      return warren::Decimal{input.byte(), input.number<std::uint32_t>()};
    case 12:
      return warren::Binary{std::string(input.text())};
    case 13:
      return warren::Timestamp(std::chrono::seconds(odd_number(input)));
    case 14:
      return std::string(input.text());
    case 15: {
      warren::FieldArray out;
      for (std::size_t i = input.below(5); i > 0; --i) out.push_back(odd_value(input, depth + 1));
      return out;
    }
    default: {
      warren::FieldTable out;
      for (std::size_t i = input.below(7); i > 0; --i) {
        constexpr std::array<std::string_view, 7> keys = {
            "count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"};
        const std::size_t key = input.below(keys.size() + 1);
        out.append(std::string(key < keys.size() ? keys[key] : input.text().substr(0, 255)),
                   odd_value(input, depth + 1));
      }
      return out;
    }
  }
}

inline warren::FieldTable odd_headers(Input& input) {
  constexpr std::array<std::string_view, 29> keys = {"retry-id",
                                                     "retry-attempt",
                                                     "retry-queue-attempt",
                                                     "retry-first-failure-at",
                                                     "retry-last-failure-at",
                                                     "retry-due-at",
                                                     "retry-reason",
                                                     "retry-error-type",
                                                     "retry-error-message",
                                                     "retry-original-queue",
                                                     "retry-original-exchange",
                                                     "retry-original-routing-key",
                                                     "retry-original-expiration",
                                                     "retry-original-user-id",
                                                     "retry-original-cc",
                                                     "retry-original-priority",
                                                     "retry-host",
                                                     "retry-policy",
                                                     "retry-crash-count",
                                                     "retry-started-by",
                                                     "retry-replay-count",
                                                     "CC",
                                                     "BCC",
                                                     "x-death",
                                                     "x-delivery-count",
                                                     "x-acquired-count",
                                                     "x-first-death-queue",
                                                     "x-stream-offset",
                                                     "warren-stamp"};
  warren::FieldTable out;
  for (std::size_t i = input.below(32); i > 0; --i) {
    const std::size_t key = input.below(keys.size() + 1);
    out.append(std::string(key < keys.size() ? keys[key] : input.text().substr(0, 255)), odd_value(input));
  }
  return out;
}

/// As a broker may deliver one: strings of at most 255 bytes, an expiration within its bounds.
inline warren::Properties odd_properties(Input& input) {
  warren::Properties out;
  out.headers = odd_headers(input);
  const std::uint8_t which = input.byte();
  const auto text = [&] { return std::string(input.text().substr(0, 255)); };
  if ((which & 1U) != 0) out.expiration = std::chrono::milliseconds(input.number<std::uint32_t>());
  if ((which & 2U) != 0) out.user_id = text();
  if ((which & 4U) != 0) out.priority = input.byte();
  if ((which & 8U) != 0) out.message_id = text();
  if ((which & 16U) != 0) out.timestamp = warren::Timestamp(std::chrono::seconds(odd_number(input)));
  if ((which & 32U) != 0) out.correlation_id = text();
  if ((which & 64U) != 0) out.reply_to = text();
  if ((which & 128U) != 0) out.type = text();
  return out;
}

inline warren::Delivery odd_delivery(Input& input) {
  warren::Delivery out;
  warren::engine::DeliveryAccess::message(out) = warren::Message("body", odd_properties(input));
  warren::engine::DeliveryAccess::address(out, std::string(input.text().substr(0, 255)),
                                          std::string(input.text().substr(0, 255)));
  warren::engine::DeliveryAccess::redelivered(out, input.flag());
  warren::engine::DeliveryAccess::runs_before(out, input.byte());
  return out;
}

}  // namespace fuzz
