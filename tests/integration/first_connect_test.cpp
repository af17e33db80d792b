#include <warren/warren.hpp>

#include <future>
#include <limits>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/proxy.hpp"
#include "support/scripted_peer.hpp"
#include "support/sockets.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionOptions;
using warren::InvalidArgument;

namespace {

std::uint16_t port_where_nobody_listens() { return listen_here().second; }

std::string url_of(std::uint16_t port, const std::string& parameters = {}) {
  return "amqp://guest:a-secret@127.0.0.1:" + std::to_string(port) + "/" + parameters;
}

ConnectionOptions patient(std::chrono::milliseconds within, std::stop_token stop = {}) {
  ConnectionOptions options = test_options();
  options.recovery.initial_delay = 20ms;
  options.recovery.early_max_delay = 50ms;
  options.first_connect = {.within = within, .stop = std::move(stop)};
  return options;
}

}  // namespace

TEST_CASE("the first connect goes on until the broker is there") {
  Proxy proxy(shared_broker().endpoint());
  proxy.take_new(false);
  LogLines lines;
  auto options = patient(60s);
  options.on_log = [&](const warren::LogEvent& event) {
    lines.add(to_string(event.level) + (" " + event.text));
  };
  auto connecting = std::async(std::launch::async, [&] { return Connection(proxy.endpoint(), options); });
  REQUIRE(eventually([&] { return proxy.links_seen() >= 4; }));
  CHECK(connecting.wait_for(0s) == std::future_status::timeout);
  CHECK(eventually([&] { return lines.has("warning connect"); }));
  CHECK(eventually([&] { return lines.has("info the first connect is tried again in "); }));
  proxy.take_new(true);
  Connection connection = connecting.get();
  CHECK(connection.is_open());
  CHECK(connection.open_channel().is_open());
}

TEST_CASE("by default the first connect tries each endpoint once, and `within` bounds it") {
  warren::Endpoint nobody = shared_broker().endpoint();
  nobody.port = port_where_nobody_listens();
  ScriptedPeer silent([](ScriptedPeer::Link& link) { link.wait_for_end(); });

  CHECK_FALSE(thrown<ConnectionError>([&] { Connection{nobody, test_options()}; }).permanent());
  std::optional<ConnectionError> error;
  CHECK(time_of([&] {
          error = thrown<ConnectionError>([&] { Connection{nobody, patient(300ms)}; });
        }) < 300ms + slack);
  CHECK_FALSE(error->permanent());
  // One that says nothing takes its share, and not that of the others.
  const std::vector endpoints{silent.endpoint(), shared_broker().endpoint()};
  CHECK(time_of([&] { Connection{endpoints, patient(15s)}; }) < 7'500ms + slack);
  for (const auto within : {0ms, -1ms})
    CHECK_THROWS_AS((Connection{nobody, patient(within)}), InvalidArgument);
}

TEST_CASE("permanent errors end the first connect at once") {
  warren::Endpoint endpoint = shared_broker().endpoint();
  endpoint.password = "not the password";
  const auto error = thrown<ConnectionError>([&] { Connection{endpoint, patient(600s)}; });
  CHECK(error.permanent());
  CHECK(error.code() == 403);
}

TEST_CASE("a requested stop ends the first connect at once, whatever it waits for") {
  std::stop_source source;
  std::future<ConnectionError> ending;
  const auto start = [&](const warren::Endpoint& endpoint, ConnectionOptions options) {
    ending = std::async(std::launch::async, [endpoint, options = std::move(options)] {
      return thrown<ConnectionError>([&] { Connection{endpoint, options}; });
    });
  };
  SECTION("requested before") {
    source.request_stop();
    start(shared_broker().endpoint(), patient(600s, source.get_token()));
  }
  SECTION("while it pauses") {
    Proxy proxy(shared_broker().endpoint());
    proxy.take_new(false);
    auto options = patient(600s, source.get_token());
    options.recovery.initial_delay = options.recovery.early_max_delay = options.recovery.max_delay = 300s;
    start(proxy.endpoint(), options);
    REQUIRE(eventually([&] { return proxy.links_seen() == 1; }));
    source.request_stop();
  }
  SECTION("while it logs in, tried once") {
    ScriptedPeer silent([](ScriptedPeer::Link& link) { link.wait_for_end(); });
    ConnectionOptions options = test_options();
    options.connect_timeout = 600s;
    options.first_connect.stop = source.get_token();
    start(silent.endpoint(), options);
    REQUIRE(eventually([&] { return silent.connections() == 1; }));
    source.request_stop();
    REQUIRE(ending.wait_for(slack) == std::future_status::ready);
  }
  REQUIRE(ending.wait_for(slack) == std::future_status::ready);
  const ConnectionError error = ending.get();
  CHECK_FALSE(error.permanent());
  CHECK(error.scope() == warren::ErrorScope::connection);
  CHECK(contains(error.text(), "a stop was requested"));
}

TEST_CASE("several URIs are tried in turn, as a vector and as a list in braces") {
  const std::string nobody = url_of(port_where_nobody_listens(), "?channel_max=7");
  const std::string& broker = shared_broker().url();
  const auto options = test_options();
  const auto serves = [](Connection connection) {
    std::vector<warren::Channel> channels;
    try {
      for (;;) channels.push_back(connection.open_channel());
    } catch (const warren::ChannelError&) {
      return channels.size();
    }
  };
  // What the first URI says of the connection applies to all.
  CHECK(serves(Connection{std::vector<std::string>{nobody, broker}, options}) == 7);
  CHECK(serves(Connection{{nobody, broker}, options}) == 7);
  CHECK(serves(Connection{{nobody.c_str(), broker.c_str()}}) == 7);
  CHECK(Connection{broker, {}}.is_open());  // one URI, and options
}

TEST_CASE("URIs that disagree about the connection are refused, without their passwords") {
  const auto refusal = [](const std::string& first, const std::string& second) {
    const auto error = thrown<InvalidArgument>([&] {
      Connection{{url_of(1, first), url_of(2, second)}, {}};
    });
    CHECK(error.permanent());
    CHECK(contains(error.text(), "127.0.0.1:1 and 127.0.0.1:2"));
    CHECK_FALSE(contains(error.what(), "a-secret"));
    return error.text();
  };
  CHECK(contains(refusal("?heartbeat=5", "?heartbeat=6"), "heartbeat"));
  CHECK(contains(refusal("?connection_timeout=5", "?connection_timeout=6"), "connection_timeout"));
  CHECK(contains(refusal("?channel_max=5", "?channel_max=6"), "channel_max"));
  CHECK_THROWS_AS((Connection{std::vector<std::string>{}, {}}), InvalidArgument);
  CHECK_THROWS_AS((Connection{{"amqp://a", "no URI"}, {}}), InvalidArgument);
}
