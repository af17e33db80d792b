#include <warren/warren.hpp>

#include <atomic>
#include <future>
#include <thread>

#include "faults/report.hpp"
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
using Clock = std::chrono::steady_clock;

namespace {

// What an application has on a connection, as it must be again after each fault.
struct Application {
  explicit Application(Connection& on)
      : connection(on),
        channel(connection.open_channel()),
        exchange(channel.declare_exchange(unique_name("recovery-exchange"), {.auto_delete = true})),
        queue(channel.declare_queue(unique_name("recovery"))),
        temporary(channel.declare_queue("", {.durable = false, .exclusive = true})),
        publisher(connection, {.exchange = exchange.name(), .routing_key = "key"}),
        consumer(connection, queue.name()),
        temporary_consumer(connection, temporary.name()) {
    queue.bind(exchange, "key");
    temporary.bind(exchange, "key");
    consumer.start([this](const warren::Delivery& delivery) { handled.add(delivery.body()); });
    temporary_consumer.start([this](const warren::Delivery& delivery) { temporarily.add(delivery.body()); });
  }
  ~Application() {
    try {
      queue.remove();
    } catch (const warren::Error&) {  // its broker is gone
    }
  }
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  // Everything works: what is published arrives at both consumers, and the channel answers.
  void check(const std::string& body) {
    publisher.publish(warren::Message(body));
    CHECK(eventually([&] { return handled.count(body) > 0 && temporarily.count(body) > 0; }));
    CHECK(channel.declare_queue_passive(queue.name()).consumer_count() == 1);
    CHECK(channel.is_open());
  }

  Connection& connection;
  warren::Channel channel;
  warren::Exchange exchange;
  warren::Queue queue;
  warren::Queue temporary;
  warren::Publisher publisher;
  Bodies handled;
  Bodies temporarily;
  warren::Consumer consumer;
  warren::Consumer temporary_consumer;
};

// When the port takes connections again.
Clock::time_point accepted_at(const warren::Endpoint& endpoint) {
  while (!connect_to(endpoint.host, endpoint.effective_port())) std::this_thread::sleep_for(5ms);
  return Clock::now();
}

}  // namespace

TEST_CASE("everything returns after the broker's death, within a second of its listening",
          "[faults][recovery]") {
  PrivateBroker broker;
  Watch watch;
  Connection connection{broker.endpoint(), watch.options()};
  Application application(connection);
  application.check("before");
  for (const bool killed : {true, false}) {
    INFO((killed ? "SIGKILL" : "a clean shutdown"));
    const std::size_t openings = watch.count(ConnectionState::open);
    if (killed) {
      broker.kill();
    } else {
      broker.stop();
    }
    REQUIRE(eventually([&] { return !connection.is_open(); }));
    const auto lost_at = Clock::now();
    CHECK(eventually([&] { return watch.loss().code == (killed ? 0 : 320); }));
    Clock::time_point listening;
    std::chrono::milliseconds login{};
    std::thread looking([&] {
      listening = accepted_at(broker.endpoint());
      login = time_of_login(broker.endpoint());
    });
    broker.restart();
    looking.join();
    REQUIRE(watch.opened(openings + 1));
    const auto took = watch.time_of_last(ConnectionState::open) - listening;
    const bool within_a_minute = listening - lost_at < 1min;
    INFO(watch.log());
    CHECK((took < 1s + 4 * login || !within_a_minute));  // beyond, on a busy machine, the pauses have grown
    application.check(killed ? "after SIGKILL" : "after a shutdown");
  }
}

TEST_CASE("states are told in their order, with the cause", "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  proxy.cut();
  REQUIRE(watch.opened(2));
  using State = ConnectionState;
  CHECK(watch.states() ==
        std::vector{State::connecting, State::open, State::waiting, State::connecting, State::open});
  CHECK(watch.last_error().scope == warren::ErrorScope::connection);
  CHECK_FALSE(watch.last_error().text.empty());
  CHECK(watch.lines(warren::LogLevel::error).empty());
  CHECK_FALSE(watch.lines(warren::LogLevel::warning).empty());
  connection.close();
  CHECK(watch.states().back() == State::closed);
}

TEST_CASE("a link that is cut, also in the middle of a frame, recovers", "[faults][recovery]") {
  const auto end = GENERATE(Proxy::End::reset, Proxy::End::fin);
  const auto direction = GENERATE(Direction::to_broker, Direction::to_client);
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  Application application(connection);
  proxy.cut_after(direction, 100'000, end);
  const std::string large(300'000, 'x');
  application.publisher.publish(warren::Message(large));  // its frames are 128 KiB each
  CHECK(eventually([&] { return application.handled.count(large) > 0; }));
  REQUIRE(watch.opened(2));
  application.check("after");
}

TEST_CASE("garbled frames end in a recovery, not in a hang", "[faults][recovery]") {
  const auto direction = GENERATE(Direction::to_broker, Direction::to_client);
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  Application application(connection);
  proxy.garble(direction);
  application.check("after");
  REQUIRE(watch.opened(2));
}

TEST_CASE("a black hole is noticed within two heartbeats and a bit, and recovered from",
          "[faults][recovery]") {
  const bool both_ways = GENERATE(true, false);
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.heartbeat = 3s;
  Connection connection{proxy.endpoint(), options};
  Application application(connection);
  if (both_ways) {
    proxy.stall();
  } else {
    proxy.stall(Direction::to_client);
  }
  const auto silence = time_of([&] { REQUIRE(eventually([&] { return !connection.is_open(); })); });
  CHECK(silence > 3s);
  CHECK(silence < 9s);
  // Told on another thread, a moment later.
  CHECK(eventually([&] { return contains(watch.loss().text, "heartbeat"); }));
  proxy.resume();
  REQUIRE(watch.opened(2));
  application.check("after");
}

TEST_CASE("a broker that ends the connection during the handshake is tried again", "[faults][recovery]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    switch (connections++) {
      case 0:
        link.shake_hands();
        return;  // lost
      case 1:
        return;  // at once
      case 2:
        link.reset();
        return;
      case 3:
        link.send(start_frame());
        return;
      case 4:
        link.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        return;
      case 5:
        link.send(start_frame());
        link.receive(method::connection_start_ok);
        link.send(method_frame(0, method::connection_close,
                               number(320, 2) + short_string("CONNECTION_FORCED - not yet") + number(0, 4)));
        link.wait_for_end();
        return;
      default:
        link.shake_hands();
        link.wait_for_end();
    }
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.connect_timeout = 10s;
  options.close_timeout = 100ms;  // the peer answers no close
  Connection connection{peer.endpoint(), options};
  REQUIRE(watch.opened(2));
  INFO(watch.log());
  CHECK(connections == 7);
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("a close right behind open-ok is not missed", "[faults][recovery]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    if (connections++ != 1) {
      link.shake_hands();
      if (connections == 1) return;  // lost
    } else {
      link.shake_hands_until_open();
      link.send(method_frame(0, method::connection_open_ok, short_string("")) +
                method_frame(0, method::connection_close,
                             number(320, 2) + short_string("CONNECTION_FORCED - shutdown") + number(0, 4)));
    }
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;  // the peer answers no close
  Connection connection{peer.endpoint(), options};
  CHECK(eventually([&] { return connections == 3 && connection.is_open(); }));
}

TEST_CASE("failures during the recovery are recovered from, and nothing leaks over 50 cuts",
          "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  const Resources before = resources();
  {
    Connection connection{proxy.endpoint(), watch.options()};
    Application application(connection);
    application.check("before");
    proxy.cut();
    REQUIRE(watch.opened(2));
    application.check("once");
    const Resources once = resources();
    for (std::size_t i = 0; i < 50; ++i) {
      INFO("cut " << i);
      // Of five, four fail while the next connection logs in, declares or subscribes.
      const std::size_t seen = proxy.links_seen();
      proxy.cut_new_after(i % 2 == 0 ? Direction::to_client : Direction::to_broker,
                          i % 5 == 0 ? SIZE_MAX : 1 + (i * 53) % 1'200,
                          i % 3 == 0 ? Proxy::End::fin : Proxy::End::reset);
      proxy.cut();
      REQUIRE(eventually([&] { return proxy.links_seen() > seen; }));
      proxy.cut_new_after(Direction::to_client, SIZE_MAX);
      proxy.cut_new_after(Direction::to_broker, SIZE_MAX);
      if (i % 10 != 9) continue;
      // A link with a limit may be cut below the check, and the exclusive queue lose its message.
      proxy.cut();
      application.check("after " + std::to_string(i));
    }
    application.check("at the end");
    CHECK(watch.lines(warren::LogLevel::error).empty());
    INFO("threads: " << thread_names() << "; descriptors: " << descriptor_names());
    CHECK(eventually([&] { return resources().threads <= once.threads; }));
    CHECK(eventually([&] { return resources().descriptors <= once.descriptors; }));
  }
  proxy.forget_frames();
  check_no_leaks(before);
}

TEST_CASE("endpoints are tried in turn, each with a time budget of its own", "[faults][recovery]") {
  Proxy first(shared_broker().endpoint());
  Proxy second(shared_broker().endpoint());
  ScriptedPeer silent([](ScriptedPeer::Link& link) { link.wait_for_end(); });
  warren::Endpoint nobody = shared_broker().endpoint();
  {
    nobody.port = listen_here().second;  // whose listener is closed here
  }
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.connect_timeout = 4s;
  Connection connection{{nobody, silent.endpoint(), first.endpoint(), second.endpoint()}, options};
  CHECK(first.links() == 1);

  // The next one takes over where one is lost, after the pause of one try.
  first.take_new(false);
  first.cut();
  REQUIRE(watch.opened(2));
  CHECK(second.links() == 1);
  CHECK(first.links() == 0);

  // And the first ones have their turn again, the silent one for as long as it may.
  const int asked = silent.connections();
  first.take_new(true);
  second.take_new(false);
  second.cut();
  REQUIRE(watch.opened(3));
  CHECK(first.links() == 1);
  CHECK(silent.connections() == asked + 1);
}

TEST_CASE("calls that begin during an outage wait for its end", "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  warren::Channel channel = connection.open_channel();
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  std::thread later([&] {
    CHECK_FALSE(eventually([&] { return connection.is_open(); }, 500ms));
    proxy.take_new(true);
  });
  SECTION("declarations") { CHECK_NOTHROW(channel.declare_queue("", {.exclusive = true})); }
  SECTION("channels") { CHECK_NOTHROW((void)connection.open_channel()); }
  SECTION("publishers") { CHECK_NOTHROW(warren::Publisher(connection)); }
  SECTION("consumers") {
    const std::string queue = shared_broker().url().empty() ? "" : unique_name("in-an-outage");
    warren::Queue declared = channel.declare_queue(queue, {.exclusive = true});
    warren::Consumer consumer{connection, queue};
    CHECK_NOTHROW(consumer.start([](const warren::Delivery&) {}));
  }
  later.join();
  CHECK(watch.count(ConnectionState::open) == 2);
}

TEST_CASE("while a lost channel is opened again, nobody waits but who calls on it", "[faults][recovery]") {
  std::atomic<int> connections{0};
  std::atomic<bool> looked{false};
  std::atomic<bool> channel_closed{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    const bool first = ++connections == 1;
    if (!first) (void)eventually([&] { return looked.load(); });
    link.send(method_frame(1, 0x0014000B, number(0, 4)));
    for (;;) {
      const std::uint32_t method = link.receive().method;
      if (method == method::channel_close) channel_closed = true;
      if (method != method::queue_declare) continue;
      if (first) return;  // lost
      link.send(method_frame(1, 0x0032000B, short_string("q") + number(0, 4) + number(0, 4)));
    }
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;  // the peer answers no close
  Connection connection{peer.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const auto declare = [&] { return channel.declare_queue_passive("q"); };
  CHECK_THROWS_AS(declare(), ConnectionError);
  auto first = std::async(std::launch::async, declare);
  REQUIRE(eventually([&] { return connections == 2; }));
  SECTION("others on the same one") {
    auto second = std::async(std::launch::async, declare);
    CHECK_FALSE(channel.is_open());
    looked = true;
    CHECK_NOTHROW(first.get());
    CHECK_NOTHROW(second.get());
    CHECK(channel.is_open());
  }
  SECTION("nor is it opened for nobody where it was closed meanwhile") {
    channel.close();
    looked = true;
    CHECK_THROWS_AS(first.get(), warren::ChannelError);
    CHECK_THROWS_AS(declare(), warren::ChannelError);
    CHECK(eventually([&] { return channel_closed.load(); }));
  }
}

TEST_CASE("a call that an outage outlasts ends with its deadline, not in doubt", "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = recovering_options();
  options.operation_timeout = 3s;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  std::optional<ConnectionError> error;
  const auto took = time_of(
      [&] { error = thrown<ConnectionError>([&] { channel.declare_queue("", {.exclusive = true}); }); });
  CHECK(took >= 2'900ms);
  CHECK(took < 3s + slack);
  CHECK_FALSE(error->in_doubt());
  CHECK_FALSE(error->permanent());
  CHECK_FALSE(error->text().empty());
}

TEST_CASE("a call in flight when the link is lost is not repeated, and ends in doubt", "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  warren::Channel channel = connection.open_channel();
  proxy.stall(Direction::to_client);
  const std::string name = unique_name("in-flight");
  proxy.forget_frames();
  std::optional<ConnectionError> error;
  std::thread calling([&] {
    error =
        thrown<ConnectionError>([&] { channel.declare_queue(name, {.durable = false, .exclusive = true}); });
  });
  REQUIRE(eventually([&] {
    return proxy.count([](const Frame& frame) { return frame.method == method::queue_declare; }) == 1;
  }));
  proxy.cut();
  proxy.resume();
  calling.join();
  CHECK(error->in_doubt());
  REQUIRE(watch.opened(2));
  CHECK(proxy.count([](const Frame& frame) { return frame.method == method::queue_declare; }) == 1);
  CHECK_NOTHROW(channel.declare_queue(name, {.durable = false, .exclusive = true}));
}

TEST_CASE("recovery ends where its limits say so, and fails what is outstanding", "[faults][recovery]") {
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  SECTION("turned off") { options.recovery.enabled = false; }
  SECTION("max_tries") { options.recovery.max_tries = 3; }
  SECTION("give_up_after") { options.recovery.give_up_after = 600ms; }
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue(unique_name("limits"), {.exclusive = true});
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};
  warren::Consumer consumer{connection, queue.name()};
  consumer.start([](const warren::Delivery&) {});
  proxy.stall(Direction::to_client);
  warren::Confirmation confirmation = publisher.publish_async(warren::Message("outstanding"));
  proxy.take_new(false);
  const std::size_t seen = proxy.links_seen();
  proxy.cut();
  const auto took =
      time_of([&] { REQUIRE(eventually([&] { return connection.state() == ConnectionState::failed; })); });
  CHECK(took < 600ms + slack);
  if (options.recovery.max_tries) CHECK(proxy.links_seen() == seen + 3);
  if (options.recovery.give_up_after) CHECK(took >= 500ms);
  if (!options.recovery.enabled) CHECK(proxy.links_seen() == seen);

  const auto outstanding = thrown<ConnectionError>([&] { confirmation.wait(); });
  CHECK(outstanding.in_doubt());
  CHECK(confirmation.outcome() == warren::PublishOutcome::unknown);
  CHECK_THROWS_AS(consumer.wait(), ConnectionError);
  CHECK_FALSE(thrown<ConnectionError>([&] { publisher.publish(warren::Message("late")); }).in_doubt());
  CHECK_THROWS_AS(channel.declare_queue("late"), ConnectionError);
  CHECK_THROWS_AS(connection.open_channel(), ConnectionError);
  CHECK(eventually([&] { return !watch.lines(warren::LogLevel::error).empty(); }));
  const std::size_t at_the_end = proxy.links_seen();
  std::this_thread::sleep_for(1s);  // nothing may happen
  CHECK(proxy.links_seen() == at_the_end);
  CHECK(watch.states().back() == ConnectionState::failed);
}

TEST_CASE("a recovery that gives up at a loss, ahead of any try, names that loss", "[faults][recovery]") {
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    if (connections++ == 0) {
      link.send(method_frame(1, 0x0014000B, number(0, 4)));
      link.receive(method::queue_declare);
      link.send(method_frame(1, 0x0032000B, short_string("q") + number(0, 4) + number(0, 4)));
    }
    link.send(method_frame(0, method::connection_close,
                           number(320, 2) + short_string("CONNECTION_FORCED - shutdown") + number(0, 4)));
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.recovery.max_tries = 1;
  Connection connection{peer.endpoint(), options};
  connection.open_channel().declare_queue("q");
  REQUIRE(eventually([&] { return watch.count(ConnectionState::failed) == 1; }));
  CHECK(connections == 2);
  CHECK(watch.last_error().code == 320);
  CHECK(contains(watch.last_error().text, "CONNECTION_FORCED"));
}

TEST_CASE("recovery options that can't be right are refused", "[faults][recovery]") {
  const auto refused = [](const warren::RecoveryOptions& recovery) {
    warren::ConnectionOptions options = test_options();
    options.recovery = recovery;
    CHECK_THROWS_AS(Connection(shared_broker().endpoint(), options), warren::InvalidArgument);
  };
  refused({.initial_delay = 0ms});
  refused({.initial_delay = -1ms});
  refused({.early_max_delay = 0ms});
  refused({.max_delay = 0ms});
  refused({.stable_after = -1ms});
  refused({.give_up_after = 0ms});
}
