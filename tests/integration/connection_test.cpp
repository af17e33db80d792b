#include <warren/warren.hpp>

#include <limits>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionError;

namespace {

// What the broker says of the connection of that name, in one column.
std::string told_of(const std::string& name, const std::string& column) {
  std::string value;
  const bool found = eventually([&] {
    for (const auto& row : shared_broker().list({"list_connections", "client_properties", column})) {
      if (!contains(row.front(), name)) continue;
      value = row.back();
      return true;
    }
    return false;
  });
  if (!found) throw std::runtime_error("the broker knows no connection " + name);
  return value;
}

std::uint16_t port_where_nobody_listens() { return listen_here().second; }

}  // namespace

TEST_CASE("a wrong password is permanent and reported at once, without the password") {
  warren::Endpoint endpoint = shared_broker().endpoint();
  endpoint.password = "not the password";
  const auto login = time_of_login(shared_broker().endpoint());
  std::optional<ConnectionError> error;
  CHECK(time_of([&] {
          error = thrown<ConnectionError>([&] { Connection{endpoint, test_options()}; });
        }) < 1s + 4 * login);
  CHECK(error->code() == 403);
  CHECK(error->permanent());
  CHECK(error->scope() == warren::ErrorScope::connection);
  CHECK(contains(error->text(), "ACCESS_REFUSED"));
  CHECK_FALSE(contains(error->what(), endpoint.password));
}

TEST_CASE("an unknown virtual host is permanent and reported at once") {
  warren::Endpoint endpoint = shared_broker().endpoint();
  endpoint.vhost = "there-is-none";
  const auto login = time_of_login(shared_broker().endpoint());
  std::optional<ConnectionError> error;
  CHECK(time_of([&] {
          error = thrown<ConnectionError>([&] { Connection{endpoint, test_options()}; });
        }) < 1s + 4 * login);
  CHECK(error->code() == 530);
  CHECK(error->permanent());
  CHECK(contains(error->text(), "there-is-none"));
}

TEST_CASE("endpoints are tried in turn: the first refuses, the next one says nothing, the third one serves") {
  ScriptedPeer silent([](ScriptedPeer::Link& link) { link.wait_for_end(); });
  warren::Endpoint refuses = shared_broker().endpoint();
  refuses.port = port_where_nobody_listens();
  warren::ConnectionOptions options = test_options();
  options.connect_timeout = 4s;  // of each, the broker among them

  std::optional<Connection> connection;
  const std::vector endpoints{refuses, silent.endpoint(), shared_broker().endpoint()};
  CHECK(time_of([&] { connection.emplace(endpoints, options); }) < 4s + 4s + slack);
  CHECK(silent.connections() == 1);
  CHECK(connection->is_open());
  CHECK(connection->open_channel().declare_queue("", {.exclusive = true}).message_count() == 0);
}

TEST_CASE("where no endpoint serves, the last one's error is thrown, each having been tried once") {
  ScriptedPeer closes([](ScriptedPeer::Link&) {});
  warren::Endpoint refuses = shared_broker().endpoint();
  refuses.port = port_where_nobody_listens();
  const auto error = thrown<ConnectionError>([&] {
    Connection{std::vector{closes.endpoint(), refuses}, test_options()};
  });
  CHECK(closes.connections() == 1);
  CHECK_FALSE(error.permanent());
  CHECK(contains(error.operation(), std::to_string(refuses.port)));
  CHECK_FALSE(error.text().empty());
}

TEST_CASE("all six capabilities, the name and own client properties reach the broker") {
  warren::ConnectionOptions options = test_options(unique_name("capabilities"));
  options.client_properties = {{"purpose", "a test of warren"}, {"product", "another product"}};
  const Connection connection{shared_broker().endpoint(), options};
  const std::string properties = told_of(options.name, "client_properties");
  for (const char* capability :
       {"publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked",
        "exchange_exchange_bindings", "authentication_failure_close"}) {
    INFO(capability << " in " << properties);
    CHECK(contains(properties, std::string("{\"") + capability + "\",true}"));
  }
  CHECK(contains(properties, "{\"connection_name\",\"" + options.name + "\"}"));
  CHECK(contains(properties, "a test of warren"));
  CHECK(contains(properties, "{\"product\",\"another product\"}"));
  CHECK(contains(properties, "\"version\""));
}

TEST_CASE("heartbeats are on unless 0 is asked for, in an option or in the URI") {
  const auto negotiated = [](const std::string& parameters, std::optional<std::chrono::seconds> heartbeat) {
    warren::ConnectionOptions options = test_options(unique_name("heartbeat"));
    if (heartbeat) options.heartbeat = *heartbeat;
    const Connection connection{shared_broker().url() + parameters, options};
    return told_of(options.name, "timeout");
  };
  CHECK(negotiated("", {}) == "30");
  CHECK(negotiated("", 600s) == "60");  // the broker's own, shorter wish
  CHECK(negotiated("?heartbeat=7", {}) == "7");
  CHECK(negotiated("?heartbeat=7", 0s) == "7");  // the URI wins
  CHECK(negotiated("", 0s) == "0");
  CHECK(negotiated("?heartbeat=0", {}) == "0");
}

TEST_CASE("a URI's parameters hold: channel_max, connection_timeout") {
  warren::ConnectionOptions options = test_options(unique_name("parameters"));
  Connection connection{shared_broker().url() + "?channel_max=3&connection_timeout=20000", options};
  CHECK(told_of(options.name, "channel_max") == "3");

  ScriptedPeer silent([](ScriptedPeer::Link& link) { link.wait_for_end(); });
  const std::string url =
      "amqp://127.0.0.1:" + std::to_string(silent.endpoint().port) + "?connection_timeout=300";
  CHECK(time_of([&] { CHECK_THROWS_AS(Connection(url, test_options()), ConnectionError); }) < 300ms + slack);
}

TEST_CASE("options that can't be right are InvalidArgument, before anything is connected") {
  ScriptedPeer peer([](ScriptedPeer::Link&) {});
  const auto refuses = [&](auto change) {
    warren::ConnectionOptions options = test_options();
    change(options);
    const auto error = thrown<warren::InvalidArgument>([&] { Connection{peer.endpoint(), options}; });
    return error.permanent() && !error.text().empty();
  };
  CHECK(refuses([](auto& options) { options.heartbeat = -1s; }));
  CHECK(refuses([](auto& options) { options.heartbeat = 65'536s; }));
  CHECK(refuses([](auto& options) { options.connect_timeout = 0ms; }));
  CHECK(refuses([](auto& options) { options.operation_timeout = 0ms; }));
  CHECK(refuses([](auto& options) { options.frame_max = 8'191; }));
  CHECK(refuses([](auto& options) { options.frame_max = (1U << 27) + 1; }));
  CHECK(refuses([](auto& options) { options.outbox_bytes = std::numeric_limits<std::size_t>::max(); }));
  CHECK_THROWS_AS(Connection(std::vector<warren::Endpoint>{}, test_options()), warren::InvalidArgument);
  CHECK_THROWS_AS(Connection("amqp://host:port/", test_options()), warren::InvalidArgument);
  CHECK(peer.connections() == 0);
}

TEST_CASE("an endpoint that can't be right is a permanent error, before anything is connected") {
  ScriptedPeer peer([](ScriptedPeer::Link&) {});
  const auto refuses = [&](auto change) {
    warren::Endpoint endpoint = peer.endpoint();
    change(endpoint);
    return thrown<ConnectionError>([&] { Connection{endpoint, test_options()}; }).permanent();
  };
  CHECK(refuses([&](auto& endpoint) { endpoint.vhost = std::string(256, 'x'); }));
  // Above what any broker takes in its first frame.
  for (const std::string& wrong : {std::string(65'536, 'x'), std::string("a\0b", 3)}) {
    CHECK(refuses([&](auto& endpoint) { endpoint.user = wrong; }));
    CHECK(refuses([&](auto& endpoint) { endpoint.password = wrong; }));
  }
  CHECK(refuses([&](auto& endpoint) { endpoint.host = std::string("127.0.0.1\0.example.org", 22); }));
  CHECK(peer.connections() == 0);
}

TEST_CASE("a token of more than 255 bytes is a password, up to what the login's frame takes") {
  const auto& broker = shared_broker();
  warren::Endpoint endpoint = broker.endpoint();
  endpoint.user = unique_name("token");
  broker.ctl({"add_user", endpoint.user, "x"});
  broker.ctl({"set_permissions", endpoint.user, ".*", ".*", ".*"});
  const auto logs_in = [&](std::size_t size) {
    INFO(size << " bytes");
    endpoint.password = std::string(size, 'a');
    broker.ctl({"change_password", endpoint.user, endpoint.password});
    Connection connection{endpoint, test_options()};
    CHECK(connection.open_channel().declare_queue("", {.exclusive = true}).message_count() == 0);
    endpoint.password.back() = 'b';  // all of it counts
    CHECK(thrown<ConnectionError>([&] { Connection{endpoint, test_options()}; }).code() == 403);
  };
  logs_in(256);
  logs_in(3'000);
  if (broker.version() >= std::pair(4, 1)) {
    logs_in(4'000);
    logs_in(7'900);
  } else {
    WARN("before RabbitMQ 4.1 a login has 4096 bytes: no password of 4,000 bytes and more is tried");
  }
  // More than the frame has room for, whatever the version: the error says so.
  endpoint.password = std::string(9'000, 'a');
  const auto error = thrown<ConnectionError>([&] { Connection{endpoint, test_options()}; });
  CHECK(contains(error.text(), "initial_frame_max"));
  CHECK_FALSE(contains(error.text(), "aaa"));
  broker.ctl({"delete_user", endpoint.user});
}

TEST_CASE("a server that is no broker for AMQP 0-9-1 is told by what it says") {
  const auto text_of = [](std::string answer) {
    ScriptedPeer peer([&](ScriptedPeer::Link& link) {
      if (!answer.empty()) link.send(answer);
    });
    const auto error = thrown<ConnectionError>([&] { Connection{peer.endpoint(), test_options()}; });
    CHECK_FALSE(error.permanent());
    return error.text();
  };
  CHECK(contains(text_of(std::string("AMQP\0\1\0\0", 8)), "another version of the protocol"));
  CHECK(contains(text_of("HTTP/1.1 400 Bad Request\r\n\r\n"), "HTTP"));
  CHECK(contains(text_of(std::string("\x15\x03\x03\0\x02\x02\x46", 7)), "TLS"));
  CHECK(contains(text_of(""), "amqps://"));
}

TEST_CASE("close() twice does nothing more; what is called afterwards says that it is closed") {
  Connection connection{shared_broker().endpoint(), test_options()};
  CHECK(connection.state() == warren::ConnectionState::open);
  connection.close();
  CHECK(connection.state() == warren::ConnectionState::closed);
  CHECK(time_of([&] { connection.close(); }) < slack);
  const auto error = thrown<ConnectionError>([&] { return connection.open_channel(); });
  CHECK(error.scope() == warren::ErrorScope::connection);
  CHECK_FALSE(error.in_doubt());
  CHECK_FALSE(connection.blocked().has_value());
}

TEST_CASE(
    "close() is a proper goodbye: what was published before it has arrived, and the broker logs no error") {
  const std::string queue = unique_name("goodbye");
  constexpr std::uint32_t count = 2'000;
  {
    Connection connection{shared_broker().endpoint(), test_options()};
    warren::Channel channel = connection.open_channel();
    channel.declare_queue(queue);
    for (std::uint32_t i = 0; i < count; ++i)
      channel.publish("", queue, warren::Message(std::string(1'000, 'x')));
  }
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  CHECK(eventually([&] { return channel.declare_queue_passive(queue).message_count() == count; }));
  channel.declare_queue_passive(queue).remove();
}

TEST_CASE("a connection can be moved; assigning over one closes it") {
  const std::string name = unique_name("moved");
  Connection first{shared_broker().endpoint(), test_options()};
  Connection second{std::move(first)};
  CHECK(second.is_open());
  warren::Channel of_second = second.open_channel();
  Connection third{shared_broker().endpoint(), test_options()};
  second = std::move(third);
  CHECK(second.is_open());
  CHECK_FALSE(of_second.is_open());
  CHECK_THROWS_AS(of_second.declare_queue(name), ConnectionError);
}

TEST_CASE("what outlives its connection throws ConnectionError and never dangles") {
  std::optional<Connection> connection(std::in_place, shared_broker().endpoint(), test_options());
  warren::Channel channel = connection->open_channel();
  warren::Exchange exchange = channel.declare_exchange(unique_name("outlives"), {.auto_delete = true});
  warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  queue.bind(exchange, "key");
  warren::Publisher publisher{*connection, {.routing_key = queue.name()}};
  publisher.publish(warren::Message("one"));
  const auto delivery = channel.get(queue.name());
  REQUIRE(delivery.has_value());
  connection.reset();

  CHECK_FALSE(channel.is_open());
  CHECK_THROWS_AS(channel.declare_queue("x"), ConnectionError);
  CHECK_THROWS_AS(channel.publish("", "x", warren::Message("x")), ConnectionError);
  CHECK_THROWS_AS(channel.get("x"), ConnectionError);
  CHECK_THROWS_AS(exchange.remove(), ConnectionError);
  CHECK_THROWS_AS(queue.unbind(exchange, "key"), ConnectionError);
  CHECK_THROWS_AS(queue.purge(), ConnectionError);
  CHECK_THROWS_AS(publisher.publish(warren::Message("x")), ConnectionError);
  CHECK_THROWS_AS(delivery->ack(), ConnectionError);
  CHECK_NOTHROW(channel.close());
  CHECK(delivery->body() == "one");
}
