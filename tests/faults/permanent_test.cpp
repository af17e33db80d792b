#include <warren/warren.hpp>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionState;

namespace {

// A user and a virtual host of a test's own.
struct Account {
  Account() {
    shared_broker().ctl({"add_vhost", vhost});
    shared_broker().ctl({"add_user", user, "before"});
    shared_broker().ctl({"set_permissions", "-p", vhost, user, ".*", ".*", ".*"});
  }
  ~Account() {
    try {
      shared_broker().ctl({"delete_user", user});
      shared_broker().ctl({"delete_vhost", vhost});
    } catch (const std::exception&) {  // gone already
    }
  }
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  warren::Endpoint endpoint(const Proxy& proxy) const {
    warren::Endpoint endpoint = proxy.endpoint();
    endpoint.vhost = vhost;
    endpoint.user = user;
    endpoint.password = "before";
    return endpoint;
  }

  const std::string vhost = unique_name("vhost");
  const std::string user = unique_name("user");
};

// It fails with a code, for good, and asks no more.
void check_failed(const Connection& connection, const Watch& watch, const Proxy& proxy, std::uint16_t code) {
  REQUIRE(eventually([&] { return watch.count(ConnectionState::failed) == 1; }));
  INFO(watch.log());
  CHECK(connection.state() == ConnectionState::failed);
  CHECK(watch.last_error().code == code);
  CHECK(watch.last_error().permanent);
  const std::size_t seen = proxy.links_seen();
  std::this_thread::sleep_for(1'500ms);  // nothing may happen
  CHECK(proxy.links_seen() == seen);
  CHECK(watch.count(ConnectionState::failed) == 1);
}

}  // namespace

TEST_CASE("what can't be right is reported in under a second, and tried once", "[faults][permanent]") {
  Proxy proxy(shared_broker().endpoint());
  warren::Endpoint endpoint = proxy.endpoint();
  std::uint16_t code = 0;
  SECTION("a wrong password") {
    endpoint.password = "wrong";
    code = 403;
  }
  SECTION("an unknown virtual host") {
    endpoint.vhost = "nowhere";
    code = 530;
  }
  const auto login = time_of_login(shared_broker().endpoint());
  std::optional<ConnectionError> error;
  CHECK(time_of([&] {
          error = thrown<ConnectionError>([&] { Connection(endpoint, recovering_options()); });
        }) < 1s + 4 * login);
  CHECK(error->code() == code);
  CHECK(error->permanent());
  CHECK(proxy.links_seen() == 1);
}

TEST_CASE("refused permission and mismatched arguments are the call's own error, in under a second",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  shared_broker().ctl({"set_permissions", "-p", account.vhost, account.user, "^mine", "^mine", "^mine"});
  Connection connection{account.endpoint(proxy), recovering_options()};
  warren::Channel channel = connection.open_channel();
  std::uint16_t code = 0;
  std::optional<warren::ChannelError> error;
  const auto login = time_of_login(shared_broker().endpoint());
  const auto refused = [&](auto&& call) {
    CHECK(time_of([&] { error = thrown<warren::ChannelError>(call); }) < 1s + 4 * login);
  };
  SECTION("permission") {
    refused([&] { channel.declare_queue("not-mine"); });
    code = 403;
  }
  SECTION("arguments") {
    channel.declare_queue("mine", {.max_length = 5});
    refused([&] { channel.declare_queue("mine", {.max_length = 6}); });
    code = 406;
  }
  CHECK(error->code() == code);
  CHECK(error->permanent());
  CHECK(connection.is_open());
  CHECK(proxy.links_seen() == 1);
}

TEST_CASE("a password changed during the outage ends the recovery with its cause", "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{account.endpoint(proxy), watch.options()};
  warren::Channel channel = connection.open_channel();
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  shared_broker().ctl({"change_password", account.user, "after"});
  const auto login = time_of_login(shared_broker().endpoint());
  const auto listening = std::chrono::steady_clock::now();
  proxy.take_new(true);
  check_failed(connection, watch, proxy, 403);
  CHECK(watch.time_of_last(ConnectionState::failed) - listening <
        2s + 4 * login);  // a pause, and less than a second
  const auto error = thrown<ConnectionError>([&] { channel.declare_queue("x"); });
  CHECK(error.code() == 403);
  CHECK(error.permanent());
}

TEST_CASE("a user that is deleted and comes back is waited for as long as retry_refused_login says",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  warren::ConnectionOptions options = recovering_options();
  options.recovery.retry_refused_login = 60s;
  Connection connection{account.endpoint(proxy), watch.options(options)};
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  shared_broker().ctl({"delete_user", account.user});
  proxy.take_new(true);
  const auto refused = [&](const char* code) {
    return eventually([&] {
      const auto lines = watch.lines(warren::LogLevel::warning);
      return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
        return contains(line, "the login was refused") && contains(line, code);
      });
    });
  };
  CHECK(refused("403"));
  shared_broker().ctl({"add_user", account.user, "before"});
  CHECK(refused("530"));  // the user is back, and has no permissions yet
  shared_broker().ctl({"set_permissions", "-p", account.vhost, account.user, ".*", ".*", ".*"});
  const bool opened = watch.opened(2);
  INFO(watch.log());
  CHECK(opened);
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("a login that is still refused after retry_refused_login ends the recovery with its cause",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  warren::ConnectionOptions options = recovering_options();
  options.recovery.retry_refused_login = 1s;
  Connection connection{account.endpoint(proxy), watch.options(options)};
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  shared_broker().ctl({"change_password", account.user, "after"});
  const auto listening = std::chrono::steady_clock::now();
  proxy.take_new(true);
  check_failed(connection, watch, proxy, 403);
  CHECK(watch.time_of_last(ConnectionState::failed) - listening >= 1s);
  CHECK(proxy.links_seen() >= 3);  // the first one, and two tries at least
}

TEST_CASE("a virtual host deleted under a connection ends the recovery with its cause",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{account.endpoint(proxy), watch.options()};
  shared_broker().ctl({"delete_vhost", account.vhost});
  check_failed(connection, watch, proxy, 530);
}

TEST_CASE("permission for the virtual host taken away during the outage ends the recovery",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{account.endpoint(proxy), watch.options()};
  proxy.take_new(false);
  proxy.cut();
  shared_broker().ctl({"clear_permissions", "-p", account.vhost, account.user});
  proxy.take_new(true);
  check_failed(connection, watch, proxy, 530);
}

TEST_CASE("a limit that the lost connection still fills is no end: it passes with that",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{account.endpoint(proxy), watch.options()};
  SECTION("of a virtual host's connections") {
    shared_broker().ctl({"set_vhost_limits", "-p", account.vhost, R"({"max-connections": 1})"});
  }
  SECTION("of a user's connections") {
    shared_broker().ctl({"set_user_limits", account.user, R"({"max-connections": 1})"});
  }
  proxy.strand();  // the broker still counts it
  const bool refused = eventually([&] {
    const auto lines = watch.lines(warren::LogLevel::warning);
    return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
      return line.find("limit (1) is reached") != line.npos;
    });
  });
  INFO(watch.log());
  CHECK(refused);
  proxy.resume();
  CHECK(watch.opened(2));
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("a channel above a user's limit is the call's error: the connection comes back without it",
          "[faults][permanent]") {
  Account account;
  Proxy proxy(shared_broker().endpoint());
  shared_broker().ctl({"set_user_limits", account.user, R"({"max-channels": 1})"});
  Watch watch;
  Connection connection{account.endpoint(proxy), watch.options()};
  warren::Channel channel = connection.open_channel();
  const auto error = thrown<ConnectionError>([&] { (void)connection.open_channel(); });
  CHECK(error.code() == 530);
  REQUIRE(watch.opened(2));
  CHECK_NOTHROW(channel.declare_queue("", {.exclusive = true}));
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("an endpoint that refuses for good is no end while another one may serve", "[faults][permanent]") {
  Account account;
  Proxy refusing(shared_broker().endpoint());
  Proxy serving(shared_broker().endpoint());
  warren::Endpoint wrong = account.endpoint(refusing);
  wrong.password = "wrong";
  Watch watch;
  Connection connection{{wrong, account.endpoint(serving)}, watch.options()};

  // Neither while the other one is up, nor while it is not.
  serving.cut();
  REQUIRE(watch.opened(2));
  const std::size_t asked = refusing.links_seen();
  serving.take_new(false);
  serving.cut();
  REQUIRE(eventually([&] { return refusing.links_seen() >= asked + 2; }));
  CHECK(watch.count(ConnectionState::failed) == 0);
  serving.take_new(true);
  REQUIRE(watch.opened(3));

  // Once all refuse, it is.
  shared_broker().ctl({"change_password", account.user, "after"});
  serving.cut();
  check_failed(connection, watch, refusing, 403);
}

namespace {

std::string close_541(const std::string& text) {
  return method_frame(0, method::connection_close,
                      number(541, 2) + short_string("INTERNAL_ERROR - " + text) + number(0, 4));
}

const std::string denied = close_541(
    "Feature `transient_nonexcl_queues` is deprecated.\nBy default, this feature is not permitted anymore.");

// The peer answers no close.
warren::ConnectionOptions impatient(Watch& watch) {
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;
  return options;
}

void open_channel(ScriptedPeer::Link& link) {
  link.receive(method::channel_open);
  link.send(method_frame(1, 0x0014000B, number(0, 4)));
}

}  // namespace

TEST_CASE("541 for a virtual host that is down, or a timeout of the metadata store, is tried again",
          "[faults][permanent]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    switch (connections++) {
      case 0:
        link.shake_hands();
        return;  // lost
      case 1:
        link.shake_hands_until_open();
        link.send(close_541("access to vhost '/' refused for user 'guest': vhost '/' is down"));
        break;
      case 2:
        link.shake_hands_until_open();
        link.send(close_541("the metadata store operation timed out"));
        break;
      default:
        link.shake_hands();
    }
    link.wait_for_end();
  });
  Watch watch;
  Connection connection{peer.endpoint(), impatient(watch)};
  const bool recovered = eventually([&] { return connections == 4 && connection.is_open(); });
  INFO(watch.log());
  CHECK(recovered);
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("a broker that logs in, and answers nothing else, uses up the tries", "[faults][permanent]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    if (connections++ == 0) {
      open_channel(link);
      link.receive(method::queue_declare);
      link.send(method_frame(1, 0x0032000B, short_string("q") + number(0, 4) + number(0, 4)));
      return;  // lost
    }
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = impatient(watch);
  options.operation_timeout = 2s;
  options.recovery.stable_after = 100ms;
  options.recovery.max_tries = 3;
  Connection connection{peer.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  channel.declare_queue("q");
  REQUIRE(eventually([&] { return connection.state() == ConnectionState::failed; }));
  CHECK(connections == 1 + 3);
}

TEST_CASE("who finds the connection failed, or closed, is told why", "[faults][permanent]") {
  std::atomic<int> connections{0};
  std::atomic<bool> recovers{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    if (connections++ == 0) return link.shake_hands();  // lost
    if (recovers) {
      link.shake_hands();
      return link.wait_for_end();
    }
    link.shake_hands_until_open();
    link.send(denied);
    link.wait_for_end();
  });
  for (int i = 0; i < 5; ++i) {  // each time, by chance, ahead of who ends it, or after
    CAPTURE(i);
    connections = 0;
    Watch watch;
    Connection connection{peer.endpoint(), impatient(watch)};
    const auto until = std::chrono::steady_clock::now() + 30s;
    while (connection.state() != ConnectionState::failed && std::chrono::steady_clock::now() < until) {
    }
    const auto error = thrown<ConnectionError>([&] { (void)connection.open_channel(); });
    CHECK(error.code() == 541);
    CHECK(error.permanent());
  }
  // A loss that is over is no cause any more.
  connections = 0;
  recovers = true;
  Watch watch;
  Connection connection{peer.endpoint(), impatient(watch)};
  REQUIRE(watch.opened(2));
  std::jthread closing([&] { connection.close(); });
  const auto until = std::chrono::steady_clock::now() + 30s;
  while (connection.state() == ConnectionState::open && std::chrono::steady_clock::now() < until) {
  }
  const auto error = thrown<ConnectionError>([&] { (void)connection.open_channel(); });
  CHECK(contains(error.text(), "the connection is closed"));
}

TEST_CASE("541 for a denied feature is the error of who asked for it; the connection goes on",
          "[faults][permanent]") {
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    open_channel(link);
    link.receive(method::queue_declare);
    link.send(denied);
    link.wait_for_end();
  });
  Watch watch;
  Connection connection{peer.endpoint(), impatient(watch)};
  warren::Channel channel = connection.open_channel();
  const auto error = thrown<ConnectionError>([&] { channel.declare_queue("transient", {.durable = false}); });
  CHECK(error.code() == 541);
  CHECK(error.permanent());
  CHECK_FALSE(error.in_doubt());  // nothing was declared
  CHECK(contains(error.text(), "set QueueOptions::durable or QueueOptions::exclusive"));
  CHECK(watch.opened(2));
  CHECK(watch.last_error().code == 541);  // everybody else's
  CHECK_FALSE(watch.last_error().permanent);
}

TEST_CASE("541 for a denied feature of the topology ends the recovery with its cause",
          "[faults][permanent]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    open_channel(link);
    link.receive(method::queue_declare);
    if (connections++ == 0) {
      link.send(method_frame(1, 0x0032000B, short_string("transient") + number(0, 4) + number(0, 4)));
      return;  // lost, and upgraded
    }
    link.send(denied);
    link.wait_for_end();
  });
  Watch watch;
  Connection connection{peer.endpoint(), impatient(watch)};
  warren::Channel channel = connection.open_channel();
  channel.declare_queue("transient", {.durable = false});
  CHECK(eventually([&] { return watch.count(ConnectionState::failed) == 1; }));
  CHECK(watch.last_error().code == 541);
  CHECK(connections == 2);
}
