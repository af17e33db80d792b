#include <warren/warren.hpp>

#include <atomic>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"
#include "support/tls_broker.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionState;
using warren::Message;

namespace {

warren::ConnectionOptions with_recovery() {
  warren::ConnectionOptions options = test_options();
  options.recovery.enabled = true;
  return options;
}

}  // namespace

TEST_CASE("a connection over TLS returns after a restart of the broker, unless its certificate is wrong now",
          "[tls]") {
  TlsBroker broker;
  std::atomic<int> losses{0};
  warren::ConnectionOptions options = with_recovery();
  options.on_state = [&](const warren::StateEvent& event) {
    if (event.state == ConnectionState::waiting && event.error) ++losses;
  };
  Connection connection{broker.tls_endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue(unique_name("tls-recovery")).name();
  warren::Publisher publisher{connection, {.routing_key = queue}};
  warren::Consumer consumer{connection, queue};
  std::atomic<int> handled{0};
  consumer.start([&](const warren::Delivery&) { ++handled; });
  publisher.publish(Message("before"));
  REQUIRE(eventually([&] { return handled == 1; }));

  broker.restart();
  REQUIRE(eventually([&] { return losses > 0 && connection.is_open(); }));
  publisher.publish(Message("after"));
  CHECK(eventually([&] { return handled == 2; }));
  // Encrypted again, not by the port without TLS.
  for (const auto& row : broker.list({"list_connections", "ssl"})) CHECK(row.at(0) == "true");

  broker.use(certificates().issue_expired("The broker", "DNS:localhost,IP:127.0.0.1"));
  broker.restart();
  REQUIRE(eventually([&] { return connection.state() == ConnectionState::failed; }));
  const auto error = thrown<warren::ConnectionError>([&] { publisher.publish(Message("never")); });
  INFO(error.text());
  CHECK(error.permanent());
  CHECK(contains(error.text(), "certificate has expired"));
}
