#include "engine/arguments.hpp"

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include <warren/warren.hpp>

#include "engine/events.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace std::chrono_literals;
using warren::DelayedRetry;
using warren::FieldTable;
using warren::FieldValue;
using warren::InvalidArgument;
using warren::engine::check_consumer_arguments;
using warren::engine::queue_arguments;

TEST_CASE("the options of RabbitMQ 4.3's quorum queues become arguments of the types that it reads") {
  const FieldTable arguments = queue_arguments({.type = warren::QueueType::quorum,
                                                .delivery_limit = -1,
                                                .consumer_timeout = 60s,
                                                .delayed_retry = DelayedRetry::failed,
                                                .delayed_retry_min = 500ms,
                                                .delayed_retry_max = 2s});
  CHECK(arguments.find("x-delivery-limit")->as_integer() == -1);
  CHECK(arguments.find("x-consumer-timeout")->as_integer() == 60'000);
  CHECK(arguments.find("x-delayed-retry-type")->as_string() == "failed");
  CHECK(arguments.find("x-delayed-retry-min")->as_integer() == 500);
  CHECK(arguments.find("x-delayed-retry-max")->as_integer() == 2'000);
  // The broker would take these, and never delay.
  CHECK_THROWS_AS(queue_arguments({.delayed_retry = DelayedRetry::all}), InvalidArgument);
  CHECK_THROWS_AS(queue_arguments({.delayed_retry_min = 1s}), InvalidArgument);
  CHECK_THROWS_AS(
      queue_arguments({.delayed_retry = DelayedRetry::all, .delayed_retry_min = 2s, .delayed_retry_max = 1s}),
      InvalidArgument);
  CHECK_THROWS_AS(queue_arguments({.filter_size_bytes = std::uint8_t{15}}), InvalidArgument);
}

TEST_CASE("a stream offset that can't be right is refused before it is sent") {
  for (const FieldValue& right : std::vector<FieldValue>{"first", "last", "next", 0, std::int64_t{1} << 40,
                                                         "1h", "7D", warren::Timestamp(1s)})
    CHECK_NOTHROW(check_consumer_arguments({{"x-stream-offset", right}}));
  for (const FieldValue& wrong :
       std::vector<FieldValue>{"frist", "", "7", "h", "0h", "7X", "1h ", "-1h", -1, true, 1.5}) {
    const auto error = thrown<InvalidArgument>([&] {
      check_consumer_arguments({{"x-stream-offset", wrong}});
    });
    CHECK(contains(error.text(), "x-stream-offset is "));
    CHECK(contains(error.text(), "\"first\""));
  }
}

TEST_CASE(
    "each type of queue but the broker's default is sent as x-queue-type; a type wins over the argument") {
  using warren::QueueType;
  CHECK(warren::QueueOptions{}.type == QueueType::broker_default);
  CHECK(queue_arguments({}).empty());
  CHECK(queue_arguments({.type = QueueType::classic}) == FieldTable{{"x-queue-type", "classic"}});
  CHECK(queue_arguments({.type = QueueType::quorum}) == FieldTable{{"x-queue-type", "quorum"}});
  CHECK(queue_arguments({.type = QueueType::stream}) == FieldTable{{"x-queue-type", "stream"}});
  const FieldTable quorum{{"x-queue-type", "quorum"}};
  CHECK(queue_arguments({.arguments = quorum}) == quorum);
  CHECK(queue_arguments({.type = QueueType::classic, .arguments = quorum}) ==
        FieldTable{{"x-queue-type", "classic"}});
}

TEST_CASE("a log text is one line without control characters") {
  std::mutex mutex;
  std::vector<std::string> lines;
  warren::engine::Events events(warren::LogLevel::info,
                                [&](const warren::LogEvent& event) {
                                  const std::lock_guard lock(mutex);
                                  lines.push_back(event.text);
                                },
                                {});
  events.log(warren::LogLevel::error,
             "541: deprecated.\r\n  Its use\n\nends\x1b[31m \xc2\x9b red \xe2\x80\xa8 ü\n");
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return lines.size() == 1;
  }));
  CHECK(lines[0] == "541: deprecated. Its use ends\\x1b[31m \\x9b red ü");
}
