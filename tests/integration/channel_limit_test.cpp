#include <warren/warren.hpp>

#include <atomic>
#include <thread>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;

namespace {

warren::ConnectionOptions with_channels(std::uint16_t count) {
  warren::ConnectionOptions options = test_options();
  options.channel_max = count;
  return options;
}

}  // namespace

TEST_CASE("a channel number that is being closed is waited for", "[channel_limit]") {
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), with_channels(1)};
  proxy.delay(20ms);  // the close-ok takes its time
  for (int i = 0; i < 5; ++i) {
    warren::Channel channel = connection.open_channel();
    CHECK(channel.number() == 1);
    CHECK_NOTHROW(channel.declare_queue("", {.exclusive = true}));
  }
  SECTION("by a publisher, and by a consumer") {
    const std::string queue = unique_name("limit");
    for (int i = 0; i < 3; ++i) {
      connection.open_channel().declare_queue(queue, {.durable = false, .exclusive = true});
      CHECK_NOTHROW(warren::Publisher(connection, {.routing_key = queue}).publish(warren::Message("m")));
      std::atomic<int> handled{0};
      warren::Consumer consumer{connection, queue};
      consumer.start([&](const warren::Delivery&) { ++handled; });
      CHECK(eventually([&] { return handled == 1; }));
      consumer.stop();
    }
  }
  SECTION("also one that the broker closed") {
    for (int i = 0; i < 5; ++i) {
      CHECK(thrown<warren::ChannelError>([&] {
              return connection.open_channel().declare_queue_passive("nowhere");
            }).code() == 404);
    }
    CHECK_NOTHROW(connection.open_channel());
  }
}

TEST_CASE("as many threads as channels, each with one at a time, never meet the limit", "[channel_limit]") {
  constexpr int count = 8;
  Connection connection{shared_broker().endpoint(), with_channels(count)};
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) {
        try {
          connection.open_channel().declare_queue_passive("amq.rabbitmq.reply-to");
        } catch (const warren::ChannelError& error) {
          if (error.code() == 0) ++failed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
}

TEST_CASE("at the limit with no close under way, open_channel fails at once, and says what to do",
          "[channel_limit]") {
  Connection connection{shared_broker().endpoint(), with_channels(2)};
  warren::Channel first = connection.open_channel();
  warren::Channel second = connection.open_channel();
  const auto error = thrown<warren::ChannelError>([&] { return connection.open_channel(); });
  CHECK(contains(error.text(), "all 2 channels are open"));
  CHECK(contains(error.text(), "channel_max"));
  CHECK_FALSE(error.in_doubt());
}

TEST_CASE("a close that the broker never confirms is waited for until the deadline", "[channel_limit]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = with_channels(1);
  options.operation_timeout = 300ms;
  options.close_timeout = 100ms;
  Connection connection{proxy.endpoint(), options};
  std::optional<warren::Channel> channel = connection.open_channel();
  proxy.stall(Direction::to_client);
  channel.reset();
  std::optional<warren::TimeoutError> error;
  CHECK(time_of([&] { error = thrown<warren::TimeoutError>([&] { return connection.open_channel(); }); }) >=
        300ms);
  CHECK(contains(error->text(), "close-ok"));
  CHECK_FALSE(error->in_doubt());
}

TEST_CASE("who waits for a channel number learns that the connection is lost", "[channel_limit]") {
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), with_channels(1)};
  std::optional<warren::Channel> channel = connection.open_channel();
  proxy.stall(Direction::to_client);
  channel.reset();
  std::jthread cutting([&] {
    std::this_thread::sleep_for(50ms);  // mostly, the other one waits by then; else it is told at once
    proxy.cut();
  });
  CHECK_THROWS_AS(connection.open_channel(), warren::ConnectionError);
}
