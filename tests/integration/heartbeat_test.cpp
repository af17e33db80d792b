#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"

using namespace support;
using warren::Connection;

TEST_CASE("a handler that sleeps five heartbeats keeps its connection") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.heartbeat = 1s;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  channel.publish("", queue.name(), warren::Message("slow"));
  proxy.forget_frames();

  std::atomic<int> runs{0};
  warren::Consumer consumer{connection, queue.name()};
  consumer.start([&](const warren::Delivery&) {
    ++runs;
    std::this_thread::sleep_for(5'500ms);  // the passing of time is the point
  });
  CHECK(eventually([&] { return consumer.status().acked == 1; }, 30s));
  CHECK(connection.is_open());
  consumer.stop();
  CHECK(runs == 1);
  CHECK(channel.declare_queue_passive(queue.name()).message_count() == 0);
  // It was alive by heartbeats, ours and the broker's.
  for (const Direction direction : {Direction::to_broker, Direction::to_client}) {
    CHECK(proxy.count([&](const Frame& frame) { return frame.type == 8 && frame.direction == direction; }) >=
          4);
  }
  CHECK(proxy.links_seen() == 1);
}

TEST_CASE("an idle connection stays, with a heartbeat each half interval at most") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.heartbeat = 1s;
  Connection connection{proxy.endpoint(), options};
  const auto idle = time_of([] { std::this_thread::sleep_for(4s); });  // the passing of time is the point
  CHECK(connection.is_open());
  const std::size_t sent = proxy.count(
      [](const Frame& frame) { return frame.type == 8 && frame.direction == Direction::to_broker; });
  CHECK(sent >= 3);
  CHECK(sent <= static_cast<std::size_t>(idle / 500ms) + 1);
}

TEST_CASE("with heartbeat 0 none is sent, in either direction") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.heartbeat = 0s;
  Connection connection{proxy.endpoint(), options};
  proxy.stall();
  std::this_thread::sleep_for(3s);  // the passing of time is the point
  CHECK(connection.is_open());
  proxy.resume();
  CHECK_NOTHROW(connection.open_channel().declare_queue("", {.exclusive = true}));
  CHECK(proxy.count([](const Frame& frame) { return frame.type == 8; }) == 0);
}
