#include <warren/warren.hpp>

#include <future>
#include <optional>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/proxy.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionState;

namespace {

constexpr auto close_timeout = 500ms;

warren::ConnectionOptions closing_options(Watch& watch) {
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = close_timeout;
  options.heartbeat = 10s;
  return options;
}

// Closes, or destroys, within the deadline; afterwards nothing connects, and who waited has been told.
template <typename Seen>
void check_close(std::optional<Connection>& connection, const Watch& watch, bool destroy,
                 Seen&& connections_seen) {
  const auto took = time_of([&] { destroy ? connection.reset() : connection->close(); });
  CHECK(took < close_timeout + slack);
  CHECK(watch.states().back() == ConnectionState::closed);
  const auto seen = connections_seen();
  std::this_thread::sleep_for(1'500ms);  // nothing may happen
  CHECK(connections_seen() == seen);
  CHECK(watch.states().back() == ConnectionState::closed);
  if (!connection) return;
  CHECK(connection->state() == ConnectionState::closed);
  CHECK_THROWS_AS(connection->open_channel(), ConnectionError);
  // The machine may hold up one of them, but not all.
  auto soonest = close_timeout;
  for (int i = 0; i < 10; ++i) soonest = std::min(soonest, time_of([&] { connection->close(); }));
  CHECK(soonest < 100ms);
}

}  // namespace

TEST_CASE("close() ends in time, for good, whatever the state", "[faults][close]") {
  const bool destroy = GENERATE(false, true);
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  warren::ConnectionOptions options = closing_options(watch);
  options.recovery.initial_delay = 100ms;
  const auto seen = [&] { return proxy.links_seen(); };
  std::optional<Connection> connection;

  SECTION("open") {
    connection.emplace(proxy.endpoint(), options);
    check_close(connection, watch, destroy, seen);
  }
  SECTION("open, and a black hole") {
    connection.emplace(proxy.endpoint(), options);
    proxy.stall();
    check_close(connection, watch, destroy, seen);
  }
  SECTION("waiting") {
    options.recovery.initial_delay = 60s;
    options.recovery.early_max_delay = 60s;
    options.recovery.max_delay = 60s;
    connection.emplace(proxy.endpoint(), options);
    proxy.cut();
    REQUIRE(eventually([&] { return connection->state() == ConnectionState::waiting; }));
    check_close(connection, watch, destroy, seen);
  }
  SECTION("connecting to a peer that accepts and says nothing") {
    connection.emplace(proxy.endpoint(), options);
    proxy.stall();
    proxy.cut();
    REQUIRE(eventually([&] { return proxy.links_seen() == 2; }));
    CHECK(connection->state() == ConnectionState::connecting);
    check_close(connection, watch, destroy, seen);
  }
  SECTION("flapping") {
    connection.emplace(proxy.endpoint(), options);
    proxy.take_new(false);
    proxy.cut();
    REQUIRE(eventually([&] { return proxy.links_seen() > 3; }));
    check_close(connection, watch, destroy, seen);
  }
}

TEST_CASE("close() ends in time, for good, while the topology is declared again", "[faults][close]") {
  const bool destroy = GENERATE(false, true);
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    if (connections++ == 0) {
      link.receive(method::channel_open);
      link.send(method_frame(1, 0x0014000B, number(0, 4)));
      link.receive(method::queue_declare);
      link.send(method_frame(1, 0x0032000B, short_string("q") + number(0, 4) + number(0, 4)));
      return;  // lost
    }
    link.receive(method::channel_open);
    link.wait_for_end();  // says nothing
  });
  Watch watch;
  std::optional<Connection> connection;
  connection.emplace(peer.endpoint(), closing_options(watch));
  warren::Channel channel = connection->open_channel();
  channel.declare_queue("q");
  REQUIRE(eventually([&] { return connections == 2; }));
  CHECK(connection->state() == ConnectionState::connecting);
  auto waiting = std::async(std::launch::async, [&] {
    return thrown<ConnectionError>([&] { channel.declare_queue("p"); }).details();
  });
  check_close(connection, watch, destroy, [&] { return peer.connections(); });
  REQUIRE(waiting.wait_for(slack) == std::future_status::ready);
  CHECK_FALSE(waiting.get().in_doubt);
}

TEST_CASE("close() ends in time, for good, while the broker blocks", "[faults][close]") {
  PrivateBroker broker;
  Watch watch;
  std::optional<Connection> connection;
  connection.emplace(broker.endpoint(), closing_options(watch));
  warren::Channel channel = connection->open_channel();
  const warren::Queue queue = channel.declare_queue("blocked");
  broker.begin_memory_alarm();
  channel.publish("", queue.name(), warren::Message("the broker answers this by blocking"));
  REQUIRE(eventually([&] { return connection->blocked().has_value(); }));
  check_close(connection, watch, false, [] { return 0; });
}

TEST_CASE("close() tells all who wait for the recovery", "[faults][close]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), closing_options(watch)};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue(unique_name("close"), {.exclusive = true});
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};
  warren::Consumer consumer{connection, queue.name()};
  consumer.start([](const warren::Delivery&) {});
  proxy.stall(Direction::to_client);
  warren::Confirmation confirmation = publisher.publish_async(warren::Message("in flight"));
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  const auto waits = [](auto call) {
    return std::async(std::launch::async, [call] { return thrown<ConnectionError>(call).details(); });
  };
  auto declaring = waits([&] { channel.declare_queue("late"); });
  auto publishing = waits([&] { publisher.publish(warren::Message("late")); });
  auto confirming = waits([&] { confirmation.wait(); });
  auto consuming = waits([&] { consumer.wait(); });
  CHECK(declaring.wait_for(300ms) == std::future_status::timeout);
  CHECK(time_of([&] { connection.close(); }) < close_timeout + slack);
  for (auto* each : {&declaring, &publishing, &confirming, &consuming}) {
    REQUIRE(each->wait_for(slack) == std::future_status::ready);
  }
  CHECK_FALSE(declaring.get().in_doubt);
  CHECK_FALSE(publishing.get().in_doubt);
  CHECK(confirming.get().in_doubt);
}

TEST_CASE("a try to connect that close() left behind ends by its own deadline, and its thread with it",
          "[faults][close]") {
  Proxy proxy(shared_broker().endpoint());
  const Resources before = resources();
  {
    Watch watch;
    warren::ConnectionOptions options = closing_options(watch);
    options.connect_timeout = 5s;
    Connection connection{proxy.endpoint(), options};
    proxy.stall();
    proxy.cut();
    REQUIRE(eventually([&] { return proxy.links_seen() == 2; }));
  }
  CHECK(eventually([&] { return resources().threads <= before.threads; }));
  proxy.resume();
  CHECK(eventually([&] { return resources().descriptors <= before.descriptors; }));
}
