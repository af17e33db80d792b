#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"

namespace retry_tests {

using namespace warren;
using namespace std::chrono_literals;
using support::eventually;

inline ConnectionOptions logging_to(support::LogLines& log) {
  ConnectionOptions options = support::test_options();
  options.on_log = [&log](const LogEvent& event) { log.add(event.text); };
  return options;
}

/// A connection to the shared broker and a queue to work on; what the test made is removed at its end.
class Bench {
 public:
  explicit Bench(const QueueOptions& options = {}) { channel().declare_queue(queue, options); }
  ~Bench() {
    for (const auto delay : waits) remove_queue(wait(delay));
    for (const std::string& name : {queue, retry, parked, other}) remove_queue(name);
    try {
      channel().declare_exchange_passive(exchange).remove();
    } catch (const Error&) {  // most tests have none
    }
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  /// The wait queue of a delay, to be removed at the end.
  std::string wait(std::chrono::milliseconds delay) {
    waits.insert(delay);
    return RetryPolicy::wait_queue(queue, delay);
  }
  /// A consumer of the queue whose policy's wait queues are removed at the end.
  Consumer consumer(const RetryPolicy& policy) {
    waits.insert(policy.distinct_delays().begin(), policy.distinct_delays().end());
    return Consumer(connection, queue, {.retry = policy});
  }
  Channel channel() { return connection.open_channel(); }
  void remove_queue(const std::string& name) {
    try {
      channel().declare_queue_passive(name).remove();
    } catch (const Error&) {  // most tests don't have all of them
    }
  }
  bool exists(const std::string& name) {
    try {
      channel().declare_queue_passive(name);
      return true;
    } catch (const ChannelError& error) {
      CHECK(error.code() == 404);
      return false;
    }
  }
  std::uint32_t ready(const std::string& name) {
    return channel().declare_queue_passive(name).message_count();
  }
  void publish(Message message) { Publisher(connection, {.routing_key = queue}).publish(message); }
  /// The next message of a queue, off it.
  Delivery take(const std::string& name) {
    std::optional<Delivery> got;
    Channel on = channel();
    REQUIRE(eventually([&] { return (got = on.get_no_ack(name)).has_value(); }));
    return *got;
  }

  const std::string queue = support::unique_name("retry");
  const std::string retry = queue + "_retry";
  const std::string parked = queue + "_parked";
  const std::string other = queue + "_other";
  const std::string exchange = queue + "_exchange";
  std::set<std::chrono::milliseconds> waits;
  support::LogLines log;
  Connection connection{support::shared_broker().url(), logging_to(log)};
};

inline std::string text(const FieldTable& headers, std::string_view key) {
  INFO(key);
  const FieldValue* value = headers.find(key);
  REQUIRE(value != nullptr);
  REQUIRE(value->as_string().has_value());
  return std::string(*value->as_string());
}

inline std::int64_t integer(const FieldTable& headers, std::string_view key) {
  INFO(key);
  const FieldValue* value = headers.find(key);
  REQUIRE(value != nullptr);
  REQUIRE(value->get_if<std::int64_t>() != nullptr);
  return *value->get_if<std::int64_t>();
}

struct Failing {
  std::string text = "on purpose";
  std::atomic<int>* runs = nullptr;
  void operator()(const Delivery&) const {
    if (runs != nullptr) ++*runs;
    throw std::runtime_error(text);
  }
};

}  // namespace retry_tests
