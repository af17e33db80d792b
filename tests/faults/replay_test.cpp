#include <warren/warren.hpp>

#include <atomic>
#include <set>
#include <thread>

#include "engine/connection_core.hpp"
#include "faults/cuttable.hpp"
#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionState;
using warren::TopologyEntity;

namespace {

struct Replaying : Cuttable {
  using Cuttable::Cuttable;

  // Runs something while the connection is away, and waits for its return.
  void cut(const std::function<void()>& meanwhile = [] {}) {
    const std::size_t openings = watch.count(ConnectionState::open);
    proxy.take_new(false);
    proxy.cut();
    REQUIRE(eventually([&] { return !connection.is_open(); }));
    meanwhile();
    proxy.forget_frames();
    proxy.take_new(true);
    REQUIRE(watch.opened(openings + 1));
  }

  std::size_t sent(std::uint32_t method) const {
    return proxy.count([&](const Frame& frame) {
      return frame.method == method && frame.direction == Direction::to_broker;
    });
  }
};

warren::QueueOptions exclusive() { return {.durable = false, .exclusive = true}; }

std::set<std::string> queues_of_broker() {
  std::set<std::string> names;
  for (const auto& row : shared_broker().list({"list_queues", "name"})) names.insert(row.at(0));
  return names;
}

}  // namespace

TEST_CASE(
    "queues that the connection before still holds hold up nothing else, and come back with all of theirs",
    "[faults][replay]") {
  Replaying on;
  const std::string name = unique_name("held");
  const std::string key = unique_name("held-key");
  for (int i = 0; i < 5; ++i) {
    on.channel.declare_queue(name + std::to_string(i), exclusive()).bind("amq.direct", key);
  }
  warren::Queue other = on.channel.declare_queue("", exclusive());
  other.bind("amq.direct", "other-" + key);
  Bodies bodies;
  warren::Consumer consumer{on.connection, name + "3"};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });

  on.proxy.strand();  // the broker believes that the connection is there
  REQUIRE(on.watch.opened(2));
  INFO(on.watch.log());
  // What is not held is there.
  warren::Publisher publisher{on.connection, {.exchange = "amq.direct", .routing_key = "other-" + key}};
  publisher.publish(warren::Message("other"));
  CHECK(on.channel.get_no_ack(other.name()).has_value());
  const auto missing = on.watch.not_recovered();
  CHECK(missing.size() == 5);
  for (const auto& each : missing) {
    CHECK(each.entity == TopologyEntity::queue);
    CHECK(contains(each.name, name));
    CHECK(each.error.code == 405);
    CHECK(each.pending);
  }
  CHECK_FALSE(consumer.wait_for(10ms));  // it waits, and has not ended

  on.proxy.resume();  // and now the broker notices
  const auto bound = [&] {
    std::size_t count = 0;
    for (const auto& row : shared_broker().list({"list_bindings", "source_name", "routing_key"})) {
      count += row.at(0) == "amq.direct" && row.at(1) == key;
    }
    return count == 5;
  };
  CHECK(eventually(bound, 60s));
  publisher.publish(warren::Message("hello"), {.routing_key = key});
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
  CHECK(on.watch.lines(warren::LogLevel::error).empty());
  CHECK(on.watch.not_recovered().size() == 5);
  consumer.stop();
}

TEST_CASE("a consumer that waits for a queue that is held stops at once, and the connection closes",
          "[faults][replay]") {
  // What a stop and a close would take if they waited for the queue, and for how long they may: far apart,
  // for a busy machine. Without heartbeats the broker holds the queue to the end of the test.
  constexpr auto patience = std::chrono::minutes(10);
  constexpr auto in_time = 60s;
  warren::ConnectionOptions options = recovering_options();
  options.heartbeat = 0s;
  options.close_timeout = patience;
  Replaying on(options);
  warren::Queue queue = on.channel.declare_queue(unique_name("held"), exclusive());
  warren::Consumer consumer{on.connection, queue.name(), {.stop_within = patience, .queue_wait = patience}};
  consumer.start([](const warren::Delivery&) {});
  on.proxy.strand();
  REQUIRE(on.watch.opened(2));
  CHECK(time_of([&] { consumer.stop(); }) < in_time);
  CHECK(time_of([&] { on.connection.close(); }) < in_time);
  CHECK(thrown<warren::ChannelError>([&] { on.beside.declare_queue_passive(queue.name()); }).code() == 405);
}

TEST_CASE("a queue that is held, and then refused for good, is told of in an event of its own",
          "[faults][replay]") {
  const std::string vhost = unique_name("held-vhost");
  const std::string user = unique_name("held-user");
  const auto& broker = shared_broker();
  broker.ctl({"add_vhost", vhost});
  broker.ctl({"add_user", user, "secret"});
  for (const std::string& each : {user, std::string("guest")}) {
    broker.ctl({"set_permissions", "-p", vhost, each, ".*", ".*", ".*"});
  }
  Proxy proxy(broker.endpoint());
  Watch watch;
  warren::Endpoint mine = proxy.endpoint();
  mine.vhost = vhost;
  mine.user = user;
  mine.password = "secret";
  warren::Endpoint others = broker.endpoint();
  others.vhost = vhost;
  {
    Connection connection{mine, watch.options()};
    Connection other{others, recovering_options()};
    warren::Channel channel = connection.open_channel();
    channel.declare_queue("mine", exclusive());
    warren::Consumer consumer{connection, "mine"};
    consumer.start([](const warren::Delivery&) {});
    proxy.take_new(false);
    proxy.cut();
    // Somebody else has it meanwhile, once the broker has noticed.
    std::optional<warren::Queue> taken;
    REQUIRE(eventually([&] {
      try {
        taken = other.open_channel().declare_queue("mine", exclusive());
        return true;
      } catch (const warren::ChannelError&) {
        return false;
      }
    }));
    proxy.take_new(true);
    REQUIRE(watch.opened(2));
    REQUIRE(watch.not_recovered().size() == 1);
    CHECK(watch.not_recovered()[0].pending);
    broker.ctl({"set_permissions", "-p", vhost, user, "^$", ".*", ".*"});
    other.open_channel().declare_queue_passive("mine").remove();
    REQUIRE(eventually([&] { return watch.not_recovered().size() == 2; }));
    const auto told = watch.not_recovered()[1];
    CHECK(told.name == "mine");
    CHECK(told.error.code == 403);
    CHECK_FALSE(told.pending);
    CHECK(thrown<warren::ChannelError>([&] { consumer.wait(); }).code() == 404);  // nobody declares it
  }
  broker.ctl({"delete_user", user});
  broker.ctl({"delete_vhost", vhost});
}

TEST_CASE("declarations go out without waiting for each other's answers", "[faults][replay]") {
  Replaying on;
  constexpr std::size_t queues = 100;
  const std::string name = unique_name("pipeline");
  for (std::size_t i = 0; i < queues; ++i) {
    warren::Queue queue = on.channel.declare_queue(name + std::to_string(i), exclusive());
    queue.bind("amq.direct", name);
  }
  on.cut([&] { on.proxy.delay(100ms); });
  on.proxy.delay(0ms);
  std::size_t ahead = 0;  // of the first answer
  std::size_t answers = 0;
  for (const Frame& frame : on.proxy.frames()) {
    answers += frame.method == method::queue_declare_ok;
    ahead += frame.method == method::queue_declare && answers == 0;
  }
  CHECK(ahead == queues);
  CHECK(on.sent(method::queue_declare) == queues);  // each once
  CHECK(on.sent(method::queue_bind) == queues);
  CHECK(answers == queues);
  warren::Publisher(on.connection, {.exchange = "amq.direct", .routing_key = name})
      .publish(warren::Message("m"));
  for (std::size_t i = 0; i < queues; ++i) CHECK(on.channel.get_no_ack(name + std::to_string(i)).has_value());
}

TEST_CASE("of many in flight each refused one is told by its name, and those behind it are declared",
          "[faults][replay]") {
  Replaying on;
  constexpr std::size_t queues = 120;
  const std::set<std::size_t> refused{0, 1, 50, 90, 119};
  const std::string name = unique_name("refused");
  const auto queue = [&](std::size_t i) { return name + "-" + std::to_string(i) + "-"; };
  for (std::size_t i = 0; i < queues; ++i) {
    on.channel.declare_queue(queue(i), {.auto_delete = true}).bind("amq.direct", queue(i));
  }
  // Two of them are replaced by others, the rest is gone, as after a broker lost all.
  on.cut([&] {
    for (std::size_t i = 0; i < queues; ++i)
      on.beside.declare_queue(queue(i), {.auto_delete = true}).remove();
    for (const std::size_t i : refused) on.beside.declare_queue(queue(i), {.max_length = 7});
    on.proxy.delay(20ms);
  });
  on.proxy.delay(0ms);
  std::set<std::string> expected;
  for (const std::size_t i : refused) expected.insert(queue(i));
  std::multiset<std::string> told;
  for (const auto& each : on.watch.not_recovered()) {
    CHECK(each.entity == TopologyEntity::queue);
    CHECK(each.error.code == 406);
    CHECK(contains(each.error.text, each.name));  // the broker means the same one
    told.insert(each.name);
  }
  CHECK(told == std::multiset<std::string>(expected.begin(), expected.end()));
  CHECK(on.watch.lines(warren::LogLevel::error).size() == refused.size());
  warren::Publisher publisher{on.connection, {.exchange = "amq.direct"}};
  for (std::size_t i = 0; i < queues; ++i) {
    publisher.publish(warren::Message("m"), {.routing_key = queue(i)});  // bound, or it would be returned
    CHECK(on.channel.get_no_ack(queue(i)).has_value());
  }
  for (std::size_t i = 0; i < queues; ++i) on.beside.declare_queue_passive(queue(i)).remove();
}

TEST_CASE("refused bindings and exchanges are told of, too", "[faults][replay]") {
  Replaying on;
  const std::string name = unique_name("refused");
  warren::Exchange gone = on.beside.declare_exchange(name + "-gone");
  on.channel.declare_exchange(name + "-other");
  warren::Queue queue = on.channel.declare_queue(name, exclusive());
  queue.bind(gone.name(), "first");
  queue.bind("amq.direct", name);
  queue.bind(gone.name(), "second");
  on.cut([&] {
    gone.remove();
    on.beside.declare_exchange_passive(name + "-other").remove();
    on.beside.declare_exchange(name + "-other", {.type = warren::ExchangeType::fanout});
  });
  const auto told = on.watch.not_recovered();
  REQUIRE(told.size() == 3);
  CHECK(told[0].entity == TopologyEntity::exchange);
  CHECK(told[0].name == name + "-other");
  CHECK(told[0].error.code == 406);
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
    CHECK(told[i].entity == TopologyEntity::binding);
    CHECK(told[i].name == name);
    CHECK(told[i].source == gone.name());
    CHECK(told[i].routing_key == (i == 1 ? "first" : "second"));
    CHECK(told[i].error.code == 404);
  }
  warren::Publisher(on.connection, {.exchange = "amq.direct", .routing_key = name})
      .publish(warren::Message("m"));
  on.beside.declare_exchange_passive(name + "-other").remove();
}

TEST_CASE("many server-named queues each get a new name, and keep their own bindings", "[faults][replay]") {
  Replaying on;
  constexpr int count = 60;
  const std::string key = unique_name("named");
  std::vector<warren::Queue> queues;
  for (int i = 0; i < count; ++i) {
    queues.push_back(on.channel.declare_queue("", exclusive()));
    queues.back().bind("amq.direct", key + std::to_string(i));
  }
  on.cut();
  warren::Publisher publisher{on.connection, {.exchange = "amq.direct"}};
  for (int i = 0; i < count; ++i) {
    const std::string body = std::to_string(i);
    publisher.publish(warren::Message(body), {.routing_key = key + body});
    const auto delivery = on.channel.get_no_ack(queues[static_cast<std::size_t>(i)].name());
    REQUIRE(delivery.has_value());
    CHECK(delivery->body() == body);
  }
}

TEST_CASE("queues that are known to be gone are not declared again", "[faults][replay]") {
  Replaying on;
  const std::string name = unique_name("known-gone");
  const std::string kept = unique_name("known-kept");
  on.channel.declare_queue(name + "-expired", {.expires = 300ms});
  on.channel.declare_queue(name + "-deleted");
  on.channel.declare_queue(name + "-deleted-too", {.auto_delete = true});
  on.channel.declare_queue(kept + "-consumed", {.expires = 300ms});
  on.channel.declare_queue(kept + "-auto-delete", {.auto_delete = true});
  on.channel.declare_queue(kept + "-far", {.expires = 600s});
  warren::Consumer consumer{on.connection, kept + "-consumed"};
  consumer.start([](const warren::Delivery&) {});
  for (const char* deleted : {"-deleted", "-deleted-too"}) {
    on.beside.declare_queue_passive(name + deleted).remove();
    warren::Channel asking = on.connection.open_channel();
    // By either call the connection learns of it.
    CHECK(thrown<warren::ChannelError>([&] {
            if (std::string_view(deleted) == "-deleted")
              (void)asking.get(name + deleted);
            else
              asking.declare_queue_passive(name + deleted);
          }).code() == 404);
  }
  REQUIRE(eventually([&] { return !queues_of_broker().contains(name + "-expired"); }));
  on.cut();
  CHECK(on.sent(method::queue_declare) == 3);
  const auto there = queues_of_broker();
  for (const char* each : {"-expired", "-deleted", "-deleted-too"}) CHECK_FALSE(there.contains(name + each));
  for (const char* each : {"-consumed", "-auto-delete", "-far"}) CHECK(there.contains(kept + each));
  CHECK(on.watch.lines(warren::LogLevel::error).empty());
  consumer.stop();
  for (const char* each : {"-auto-delete", "-far"}) on.beside.declare_queue_passive(kept + each).remove();
}

TEST_CASE("a recovery says how far it is: in the log, and to whom it takes too long", "[faults][replay]") {
  constexpr int queues = 20;
  constexpr int answered = 7;
  std::atomic<int> connections{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    const bool first = connections++ == 0;
    link.shake_hands();
    link.receive(method::channel_open);
    link.send(method_frame(1, method::channel_open_ok, number(0, 4)));
    for (int i = 0; i < (first ? queues : answered); ++i) {
      link.receive(method::queue_declare);
      if (!first && i > 0) std::this_thread::sleep_for(500ms);  // a slow broker
      link.send(
          method_frame(1, method::queue_declare_ok, short_string("q" + std::to_string(i)) + number(0, 8)));
    }
    if (first) return;  // lost
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;
  warren::engine::ConnectionCore core({peer.endpoint()}, options);
  core.open();
  {
    const auto deadline = core.operation_deadline();
    const auto channel = core.open_channel(deadline);
    for (int i = 0; i < queues; ++i) {
      const std::string name = "q" + std::to_string(i);
      channel->call("queue.declare", warren::wire::id::queue_declare_ok, deadline,
                    [&](warren::engine::Bytes& out, std::uint16_t number) {
                      warren::wire::queue_declare(out, number, name, {}, {});
                    });
      core.topology().declared(warren::engine::QueueRecord{.name = name});
    }
  }
  REQUIRE(eventually([&] { return core.state() != ConnectionState::open; }));
  std::string text;
  const bool told = eventually([&] {
    const auto error = thrown<warren::ConnectionError>(
        [&] { core.await_open("channel.open", std::chrono::steady_clock::now()); });
    text = error.text();
    return contains(text, "7 of 20 declarations");
  });
  INFO(text << '\n' << watch.log());
  CHECK(told);
  CHECK(contains(text, "its recovery had not ended by the deadline"));
  CHECK(eventually([&] {
    const auto lines = watch.lines(warren::LogLevel::info);
    return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
      return contains(line, "of 20 declarations of the topology are answered after");
    });
  }));
  core.close(std::chrono::steady_clock::now());
}
