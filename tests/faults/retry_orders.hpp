#pragma once

#include <cstddef>
#include <iostream>
#include <map>
#include <string>

#include <warren/warren.hpp>

#include "faults/report.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"

namespace faults {

inline warren::QueueOptions queue_of(bool quorum) {
  using warren::QueueType;
  return quorum ? warren::QueueOptions{.type = QueueType::quorum, .delivery_limit = 100}
                : warren::QueueOptions{};
}

/// Orders 0, 1, … into a queue; returns once all are confirmed.
inline void publish_orders(warren::Connection& connection, const std::string& queue, std::size_t first,
                           std::size_t count) {
  warren::Publisher publisher(connection, {.routing_key = queue});
  for (std::size_t i = first; i < first + count; ++i) {
    (void)publisher.publish_async(warren::Message(std::to_string(i)));
  }
  publisher.flush(std::chrono::seconds(60));
}

/// How often each order was handled to its end.
class Handled {
 public:
  void add(const std::string& order) { ++times_[order]; }
  [[nodiscard]] std::size_t size() const { return times_.size(); }
  [[nodiscard]] std::size_t duplicates() const {
    std::size_t all = 0;
    for (const auto& [order, times] : times_) all += times - 1;
    return all;
  }

 private:
  std::map<std::string, std::size_t> times_;
};

inline void report(const char* killed, bool quorum, std::size_t orders, std::size_t kills,
                   const Handled& handled) {
  std::cout << killed << " killed, " << (quorum ? "quorum" : "classic") << " queue: " << orders << " orders, "
            << kills << " kills, lost " << orders - std::min(handled.size(), orders) << ", duplicates "
            << handled.duplicates() << std::endl;
}

/// Ready messages of a queue; a missing one has none.
inline std::size_t ready(warren::Connection& connection, const std::string& queue) {
  return connection.open_channel().declare_queue_passive(queue).message_count();
}

}  // namespace faults
