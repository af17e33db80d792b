#include "common/order.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace examples {
namespace {

std::string now_as_text() {
  const auto now = std::chrono::system_clock::now();
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1'000;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  char fraction[8];
  std::snprintf(fraction, sizeof fraction, ".%03dZ", static_cast<int>(milliseconds));
  return std::string(text, size) + fraction;
}

bool has_control(const std::string& text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// A string as it is, anything else as JSON writes it.
std::string bare(const nlohmann::json& value) {
  return value.is_string() ? one_line(value.get<std::string>()) : value.dump();
}

void declare_direct(warren::Channel& channel, const char* exchange,
                    std::initializer_list<const char*> queues) {
  const warren::Exchange declared =
      channel.declare_exchange(exchange, {.type = warren::ExchangeType::direct});
  for (const char* queue : queues) channel.declare_queue(queue).bind(declared, queue);
}

}  // namespace

std::string one_line(const std::string& text) {
  if (!has_control(text)) return text;
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_id(const std::string& text) {
  if (text.empty() || has_control(text)) return false;
  // What is no UTF-8 comes out otherwise.
  const auto ignore = nlohmann::json::error_handler_t::ignore;
  return nlohmann::json::parse(nlohmann::json(text).dump(-1, ' ', false, ignore)) == text;
}

nlohmann::json id_to_json(std::string_view id) {
  const bool digits =
      !id.empty() && std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  std::int64_t number = 0;
  const auto parsed = std::from_chars(id.data(), id.data() + id.size(), number);
  // A leading zero would be lost, and 007 become another order.
  const bool exact = id.size() == 1 || !id.starts_with('0');
  if (digits && exact && parsed.ec == std::errc()) return number;
  return std::string(id);
}

warren::Message order_message(const nlohmann::json& id) {
  const nlohmann::json order = {{"order_id", id}, {"timestamp", now_as_text()}};
  return warren::Message::json(order.dump());
}

Order parse_order(std::string_view body) {
  const nlohmann::json order = nlohmann::json::parse(body, nullptr, false);
  if (order.is_discarded()) throw warren::Undecodable("the body is not JSON");
  if (!order.is_object() || !order.contains("order_id"))
    throw warren::Undecodable("the body has no order_id");
  const nlohmann::json& id = order.at("order_id");
  if (!id.is_string() && !id.is_number_integer()) {
    throw warren::Undecodable("order_id is neither a string nor an integer");
  }
  if (!order.contains("timestamp")) return {bare(id), "an unknown time"};
  const nlohmann::json& timestamp = order.at("timestamp");
  // Strangers nest deeper than what writes JSON has stack for.
  if (timestamp.is_structured()) throw warren::Undecodable("timestamp is an array or an object");
  return {bare(id), bare(timestamp)};
}

void declare_orders(warren::Channel& channel) {
  declare_direct(channel, orders_exchange, {orders_queue, retry_queue, parked_queue});
}

void declare_tasks(warren::Channel& channel) { declare_direct(channel, task_exchange, {task_queue}); }

}  // namespace examples
