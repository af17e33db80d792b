#include <warren/warren.hpp>

#include <future>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionState;

namespace {

// Runs a call that is to end with a ConnectionError.
std::future<warren::ErrorDetails> waits(std::function<void()> call) {
  return std::async(std::launch::async,
                    [call = std::move(call)] { return thrown<ConnectionError>(call).details(); });
}

// Calls of every kind that wait for the broker's answer, which the proxy holds back.
struct Waiting {
  std::vector<std::pair<const char*, std::future<warren::ErrorDetails>>> calls;

  Waiting(Proxy& proxy, Connection& connection, warren::Channel& channel, warren::Publisher& publisher,
          warren::Queue& queue, warren::Exchange& exchange) {
    proxy.stall(Direction::to_client);
    proxy.forget_frames();
    calls.emplace_back("open_channel", waits([&] { (void)connection.open_channel(); }));
    calls.emplace_back("declare_queue",
                       waits([&] { channel.declare_queue(queue.name(), {.exclusive = true}); }));
    calls.emplace_back("get", waits([&] { (void)channel.get(queue.name()); }));
    calls.emplace_back("purge", waits([&] { queue.purge(); }));
    calls.emplace_back("bind", waits([&] { queue.bind(exchange, "key"); }));
    calls.emplace_back("publish", waits([&] { publisher.publish(warren::Message("in flight")); }));
    // All are under way once their frames have been seen.
    REQUIRE(eventually([&] {
      return proxy.count([](const Frame& frame) {
        return frame.type == 1 && frame.direction == Direction::to_broker;
      }) == calls.size();
    }));
  }

  // Each ends soon, with a ConnectionError that leaves open whether it happened.
  void end_in_doubt() {
    for (auto& [name, result] : calls) {
      INFO(name);
      REQUIRE(result.wait_for(20s) == std::future_status::ready);
      const warren::ErrorDetails error = result.get();
      CHECK(error.in_doubt);
      CHECK_FALSE(error.permanent);
      CHECK(error.scope == warren::ErrorScope::connection);
      CHECK_FALSE(error.text.empty());
      CHECK_FALSE(error.operation.empty());
    }
  }
};

}  // namespace

TEST_CASE("a connection that is cut ends every call that waits, in doubt, and every later one", "[loss]") {
  const auto end = GENERATE(Proxy::End::reset, Proxy::End::fin);
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  warren::Exchange exchange = channel.declare_exchange_passive("amq.topic");
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};

  Waiting waiting(proxy, connection, channel, publisher, queue, exchange);
  proxy.cut(end);
  waiting.end_in_doubt();

  CHECK(connection.state() == ConnectionState::failed);
  CHECK_FALSE(channel.is_open());
  const auto later = thrown<ConnectionError>([&] { channel.declare_queue("later"); });
  CHECK_FALSE(later.in_doubt());
  CHECK_THROWS_AS(connection.open_channel(), ConnectionError);
  CHECK_THROWS_AS(publisher.publish(warren::Message("later")), ConnectionError);
  CHECK(time_of([&] { connection.close(); }) < slack);
}

TEST_CASE("a connection that is cut within a frame ends in an error, not in a message cut short", "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  const warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  warren::Publisher{connection, {.routing_key = queue.name()}}.publish(
      warren::Message(std::string(500'000, 'x')));
  proxy.cut_after(Direction::to_client, 200'000);
  const auto error = thrown<ConnectionError>([&] { return channel.get(queue.name()); });
  CHECK(error.in_doubt());
  CHECK(eventually([&] { return connection.state() == ConnectionState::failed; }));
}

TEST_CASE("close() by another thread ends every call that waits", "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 500ms;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  warren::Exchange exchange = channel.declare_exchange_passive("amq.topic");
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};

  Waiting waiting(proxy, connection, channel, publisher, queue, exchange);
  CHECK(time_of([&] { connection.close(); }) < 500ms + slack);
  waiting.end_in_doubt();
}

TEST_CASE("the broker's death ends the connection and the calls that wait", "[loss]") {
  PrivateBroker broker;
  Connection connection{broker.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  SECTION("by SIGKILL") {
    broker.kill();
    CHECK(eventually([&] { return connection.state() == ConnectionState::failed; }));
    CHECK(thrown<ConnectionError>([&] { channel.declare_queue("x"); }).code() == 0);
  }
  SECTION("by a shutdown, with its code and text") {
    broker.stop();
    CHECK(eventually([&] { return connection.state() == ConnectionState::failed; }));
    const auto error = thrown<ConnectionError>([&] { channel.declare_queue("x"); });
    CHECK(error.code() == 320);
    CHECK(contains(error.text(), "CONNECTION_FORCED"));
    CHECK_FALSE(error.permanent());
  }
}

TEST_CASE("a connection that the operator closes ends with the operator's reason", "[loss]") {
  const std::string name = unique_name("closed-by-operator");
  Connection connection{shared_broker().endpoint(), test_options(name)};
  warren::Channel channel = connection.open_channel();
  std::string pid;
  REQUIRE(eventually([&] {
    for (const auto& row : shared_broker().list({"list_connections", "pid", "client_properties"})) {
      if (contains(row.at(1), name)) pid = row.at(0);
    }
    return !pid.empty();
  }));
  shared_broker().ctl({"close_connection", pid, "for maintenance"});
  CHECK(eventually([&] { return connection.state() == ConnectionState::failed; }));
  const auto error = thrown<ConnectionError>([&] { channel.declare_queue("x"); });
  CHECK(error.code() == 320);
  CHECK(contains(error.text(), "for maintenance"));
}

TEST_CASE("a black hole is noticed within two heartbeats and a bit", "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.heartbeat = 3s;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const bool both_ways = GENERATE(true, false);
  if (both_ways) {
    proxy.stall();
  } else {
    proxy.stall(Direction::to_client);  // what we send still arrives
  }
  auto call = waits([&] { channel.declare_queue("", {.exclusive = true}); });
  const auto silence = time_of([&] { REQUIRE(eventually([&] { return !connection.is_open(); })); });
  CHECK(silence > 3s);
  CHECK(silence < 9s);
  REQUIRE(call.wait_for(slack) == std::future_status::ready);
  const warren::ErrorDetails error = call.get();
  CHECK(error.in_doubt);
  CHECK(contains(error.text, "heartbeat"));
  CHECK(time_of([&] { connection.close(); }) < slack);
}

TEST_CASE("the destructor ends in close_timeout where the broker answers nothing", "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 300ms;
  std::optional<Connection> connection(std::in_place, proxy.endpoint(), options);
  warren::Channel channel = connection->open_channel();
  proxy.stall();
  const auto took = time_of([&] { connection.reset(); });
  CHECK(took >= 250ms);  // it tried
  CHECK(took < 300ms + slack);
  CHECK_THROWS_AS(channel.declare_queue("x"), ConnectionError);
}

TEST_CASE(
    "the destructor ends in close_timeout where the broker takes nothing and much is still to be written",
    "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 300ms;
  options.operation_timeout = 4s;
  std::optional<Connection> connection(std::in_place, proxy.endpoint(), options);
  warren::Channel channel = connection->open_channel();
  proxy.stall();
  const warren::Message message(std::string(1 << 20, 'x'));
  // The outbox is bounded: at last a publish finds no room, and says that it was not sent.
  const auto full = thrown<warren::TimeoutError>([&] {
    for (int i = 0; i < 200; ++i) channel.publish("", "nowhere", message);
  });
  CHECK_FALSE(full.in_doubt());
  CHECK(time_of([&] { connection.reset(); }) < 300ms + slack);
}

TEST_CASE("a call without an answer ends with its deadline, in doubt, and later answers find their callers",
          "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.operation_timeout = 4s;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  proxy.stall(Direction::to_client);
  std::optional<warren::TimeoutError> error;
  const std::string late = unique_name("late");
  const auto took = time_of([&] {
    error = thrown<warren::TimeoutError>([&] { channel.declare_queue(late, {.exclusive = true}); });
  });
  CHECK(took >= 4s);
  CHECK(took < 4s + slack);
  CHECK(error->in_doubt());
  CHECK(contains(error->operation(), late));
  proxy.resume();
  // The answer of the call that gave up is ahead of these.
  const std::string next = unique_name("next");
  CHECK(channel.declare_queue(next, {.exclusive = true}).name() == next);
  CHECK(channel.declare_queue_passive(late).name() == late);
}

TEST_CASE("a message that basic.get brings after its caller gave up goes back to its queue", "[loss]") {
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  options.operation_timeout = 4s;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  warren::Publisher{connection, {.routing_key = queue.name()}}.publish(warren::Message("late"));
  proxy.stall(Direction::to_client);
  CHECK_THROWS_AS(channel.get(queue.name()), warren::TimeoutError);
  proxy.resume();
  std::optional<warren::Delivery> again;
  REQUIRE(eventually([&] { return (again = channel.get(queue.name())).has_value(); }));
  CHECK(again->body() == "late");
  CHECK(again->redelivered());
  again->ack();
}
