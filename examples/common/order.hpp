#pragma once

// The order system: its messages and its queues.

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>
#include <warren/warren.hpp>

namespace examples {

inline constexpr const char* orders_exchange = "orders_exchange";
inline constexpr const char* orders_queue = "orders";
inline constexpr const char* retry_queue = "orders_retry";
inline constexpr const char* parked_queue = "orders_parked";
inline constexpr const char* task_exchange = "task_exchange";
inline constexpr const char* task_queue = "task_queue";

struct Order {
  std::string id{};  ///< as it is printed
  std::string timestamp{};
};

/// The text, or as JSON writes it where it would break its line.
std::string one_line(const std::string& text);
/// Whether it can be an order's id: not empty, UTF-8, on one line.
bool is_id(const std::string& text);
/// Digits only become a JSON integer, where one can hold them; anything else a string.
nlohmann::json id_to_json(std::string_view id);
/// `{"order_id": …, "timestamp": …}`, with the time of now.
warren::Message order_message(const nlohmann::json& id);
/// @throws warren::Undecodable  no JSON, no order_id in it, or something else than one value in either field
Order parse_order(std::string_view body);

/// Declares exchange and queues, all durable, the queues without arguments, and binds them by their names.
void declare_orders(warren::Channel& channel);
void declare_tasks(warren::Channel& channel);

}  // namespace examples
