#include <warren/warren.hpp>

#include <algorithm>
#include <thread>

#include "faults/cuttable.hpp"
#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionState;

namespace {

struct Declaring : Cuttable {
  // Runs something while the connection is away, and waits for its return.
  template <typename Meanwhile>
  void cut(Meanwhile&& meanwhile) {
    const std::size_t openings = watch.count(ConnectionState::open);
    proxy.take_new(false);
    proxy.cut();
    REQUIRE(eventually([&] { return !connection.is_open(); }));
    meanwhile();
    proxy.forget_frames();
    proxy.take_new(true);
    REQUIRE(watch.opened(openings + 1));
  }
  void cut() {
    cut([] {});
  }

  bool queue_exists(const std::string& name) {
    warren::Channel asking = untouched.open_channel();
    try {
      asking.declare_queue_passive(name);
      return true;
    } catch (const warren::ChannelError& error) {
      REQUIRE((error.code() == 404 || error.code() == 405));  // 405: another connection's, so it is there
      return error.code() == 405;
    }
  }
  bool exchange_exists(const std::string& name) {
    warren::Channel asking = untouched.open_channel();
    try {
      asking.declare_exchange_passive(name);
      return true;
    } catch (const warren::ChannelError& error) {
      REQUIRE(error.code() == 404);
      return false;
    }
  }
  // How many of the messages published under a key reach a queue.
  std::size_t routed(const std::string& exchange, const std::string& key, const std::string& queue) {
    warren::Publisher publisher{connection, {.exchange = exchange, .mandatory = false}};
    publisher.publish(warren::Message("routed?"), {.routing_key = key});
    std::size_t count = 0;
    while (channel.get_no_ack(queue)) ++count;
    return count;
  }
};

}  // namespace

TEST_CASE("the topology is declared in its order: exchanges, queues, bindings, consumers",
          "[faults][topology]") {
  Declaring on;
  const std::string name = unique_name("order");
  warren::Queue first = on.channel.declare_queue(name, {.durable = false, .exclusive = true});
  warren::Exchange source =
      on.channel.declare_exchange(name + "-source", {.durable = false, .auto_delete = true});
  first.bind(source, "key");
  warren::Exchange target =
      on.channel.declare_exchange(name + "-target", {.durable = false, .auto_delete = true});
  target.bind(source, "key");
  warren::Queue second = on.channel.declare_queue(name + "-second", {.durable = false, .exclusive = true});
  second.bind(target, "key");
  Bodies bodies;
  warren::Consumer consumer{on.connection, second.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });

  on.cut();
  warren::Publisher publisher{on.connection, {.exchange = source.name(), .routing_key = "key"}};
  publisher.publish(warren::Message("hello"));
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
  constexpr std::uint32_t exchange_declare = 0x0028000A;
  constexpr std::uint32_t exchange_bind = 0x0028001E;
  constexpr std::uint32_t queue_bind = 0x00320014;
  std::vector<std::uint32_t> order;
  for (const Frame& frame : on.proxy.frames()) {
    for (const std::uint32_t known :
         {exchange_declare, exchange_bind, queue_bind, method::queue_declare, method::basic_consume}) {
      if (frame.method == known) order.push_back(known == exchange_bind ? queue_bind : known);
    }
  }
  const std::vector<std::uint32_t> expected{
      exchange_declare, exchange_declare, method::queue_declare, method::queue_declare, queue_bind,
      queue_bind,       queue_bind,       method::basic_consume};
  CHECK(order == expected);
}

TEST_CASE("one entity that meets 406 is reported, and the others recover", "[faults][topology]") {
  Declaring on;
  const std::string name = unique_name("refused");
  const auto transient = [&](const std::string& part) {
    return on.channel.declare_queue(name + part, {.durable = false, .exclusive = true});
  };
  warren::Queue before = transient("-before");
  warren::Queue refused = on.channel.declare_queue(name + "-refused");
  warren::Queue after = transient("-after");
  before.bind("amq.topic", "before." + name);
  refused.bind("amq.topic", "refused." + name);
  after.bind("amq.topic", "after." + name);
  Bodies bodies;
  warren::Consumer consumer{on.connection, after.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });

  on.cut([&] {
    on.beside.declare_queue_passive(refused.name()).remove();
    on.beside.declare_queue(refused.name(), {.max_length = 7});
  });
  REQUIRE(on.watch.lines(warren::LogLevel::error).size() == 1);
  const std::string line = on.watch.lines(warren::LogLevel::error).front();
  CHECK(contains(line, refused.name()));
  CHECK(contains(line, "406"));
  const auto missing = on.watch.not_recovered();
  REQUIRE(missing.size() == 1);
  CHECK(missing[0].entity == warren::TopologyEntity::queue);
  CHECK(missing[0].name == refused.name());
  CHECK(missing[0].error.code == 406);
  CHECK_FALSE(missing[0].pending);
  CHECK(on.routed("amq.topic", "before." + name, before.name()) == 1);
  warren::Publisher(on.connection, {.exchange = "amq.topic", .routing_key = "after." + name})
      .publish(warren::Message("hello"));
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
  // Once, and not in a loop.
  CHECK(on.proxy.count([](const Frame& frame) {
    return frame.method == method::channel_close && frame.direction == Direction::to_client;
  }) == 1);
  on.beside.declare_queue_passive(refused.name()).remove();
}

TEST_CASE("two bindings that differ in the key, or in the arguments, only both return",
          "[faults][topology]") {
  Declaring on;
  warren::Exchange exchange =
      on.channel.declare_exchange(unique_name("bindings"), {.durable = false, .auto_delete = true});
  warren::Queue queue =
      on.channel.declare_queue(unique_name("bindings"), {.durable = false, .exclusive = true});
  queue.bind(exchange, "one");
  queue.bind(exchange, "two");
  queue.bind(exchange, "two");  // the same again is one
  queue.bind(exchange, "three");
  queue.unbind(exchange, "three");
  warren::Exchange headers = on.channel.declare_exchange(
      unique_name("bindings"),
      {.type = warren::ExchangeType::headers, .durable = false, .auto_delete = true});
  queue.bind(headers, "", {{"x-match", "all"}, {"colour", "red"}});
  queue.bind(headers, "", {{"x-match", "all"}, {"colour", "blue"}});
  for (int i = 0; i < 2; ++i) {
    on.cut();
    CHECK(on.routed(exchange.name(), "one", queue.name()) == 1);
    CHECK(on.routed(exchange.name(), "two", queue.name()) == 1);
    CHECK(on.routed(exchange.name(), "three", queue.name()) == 0);
    std::size_t bindings = 0;
    for (const auto& row : shared_broker().list({"list_bindings", "source_name", "destination_name"})) {
      bindings += row.at(0) == headers.name() && row.at(1) == queue.name();
    }
    CHECK(bindings == 2);
  }
}

TEST_CASE("what was deleted, or deleted itself, does not return", "[faults][topology]") {
  Declaring on;
  const std::string name = unique_name("gone");
  // Deleted by us.
  warren::Queue queue = on.channel.declare_queue(name + "-queue");
  warren::Exchange exchange = on.channel.declare_exchange(name + "-exchange");
  warren::Exchange kept =
      on.channel.declare_exchange(name + "-kept", {.durable = false, .auto_delete = true});
  warren::Queue keeping = on.channel.declare_queue(name + "-keeping", {.durable = false, .exclusive = true});
  keeping.bind(kept, "key");
  queue.bind(kept, "key");
  keeping.bind(exchange, "key");
  queue.remove();
  exchange.remove();
  // An auto-delete queue whose last consumer ended.
  warren::Queue consumed = on.channel.declare_queue(name + "-consumed", {.auto_delete = true});
  {
    warren::Consumer consumer{on.connection, consumed.name()};
    consumer.start([](const warren::Delivery&) {});
    consumer.stop();
  }
  // An auto-delete exchange that lost its last binding, and one whose last queue went.
  warren::Exchange unbound = on.channel.declare_exchange(name + "-unbound", {.auto_delete = true});
  keeping.bind(unbound, "key");
  keeping.unbind(unbound, "key");
  warren::Exchange without_queue =
      on.channel.declare_exchange(name + "-without-queue", {.auto_delete = true});
  warren::Queue only = on.channel.declare_queue(name + "-only");
  only.bind(without_queue, "key");
  only.remove();
  on.cut();
  CHECK_FALSE(on.queue_exists(queue.name()));
  CHECK_FALSE(on.exchange_exists(exchange.name()));
  CHECK_FALSE(on.queue_exists(consumed.name()));
  CHECK_FALSE(on.exchange_exists(unbound.name()));
  CHECK_FALSE(on.exchange_exists(without_queue.name()));
  CHECK_FALSE(on.queue_exists(only.name()));
  CHECK(on.exchange_exists(kept.name()));
  CHECK(on.routed(kept.name(), "key", keeping.name()) == 1);
  CHECK(on.watch.lines(warren::LogLevel::error).empty());
}

TEST_CASE("an auto-delete queue that went with the connection returns, with its consumer",
          "[faults][topology]") {
  Declaring on;
  warren::Queue queue = on.channel.declare_queue(unique_name("auto-delete"), {.auto_delete = true});
  Bodies bodies;
  warren::Consumer consumer{on.connection, queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.cut([&] { CHECK(eventually([&] { return !on.queue_exists(queue.name()); })); });
  warren::Publisher(on.connection, {.routing_key = queue.name()}).publish(warren::Message("hello"));
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
  consumer.stop();
  CHECK(eventually([&] { return !on.queue_exists(queue.name()); }));
}

TEST_CASE("a server-named queue gets a new name, which its bindings, consumers and calls follow",
          "[faults][topology]") {
  Declaring on;
  warren::Queue queue = on.channel.declare_queue("", {.durable = false, .exclusive = true});
  warren::Queue polled = on.channel.declare_queue("", {.durable = false, .exclusive = true});
  const std::string key = unique_name("follows");
  queue.bind("amq.direct", key);
  polled.bind("amq.direct", key);
  Bodies bodies;
  warren::Consumer consumer{on.connection, queue};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  const std::string first_name = polled.name();
  warren::Publisher publisher{on.connection, {.exchange = "amq.direct", .routing_key = key}};
  for (int i = 0; i < 3; ++i) {  // each time under another name
    INFO(i);
    const std::string name_before = queue.name();
    on.cut();
    CHECK(queue.name() != name_before);
    CHECK(consumer.queue() == queue.name());
    const std::string body = std::to_string(i);
    publisher.publish(warren::Message(body));
    CHECK(eventually([&] { return bodies.count(body) == 1; }));
    // By the handle, and by any name that it had.
    CHECK(on.channel.get_no_ack(polled.name()).has_value());
    publisher.publish(warren::Message(body + " again"));
    CHECK(on.channel.get_no_ack(first_name).has_value());
  }
  SECTION("calls that waited for the recovery name the new queue") {
    const std::string other = unique_name("other-key");
    on.proxy.take_new(false);
    on.proxy.cut();
    REQUIRE(eventually([&] { return !on.connection.is_open(); }));
    std::thread later([&] {
      std::this_thread::sleep_for(300ms);
      on.proxy.take_new(true);
    });
    CHECK_NOTHROW(polled.bind("amq.direct", other));
    later.join();
    publisher.publish(warren::Message("bound"), {.routing_key = other});
    on.cut();  // and the binding was recorded for the queue as it is now
    publisher.publish(warren::Message("bound"), {.routing_key = other});
    CHECK_NOTHROW(polled.unbind("amq.direct", other));
    CHECK_NOTHROW(polled.remove());
  }
  consumer.stop();
}

TEST_CASE("a queue that the connection before still holds (405) is declared again once it is free",
          "[faults][topology]") {
  Declaring on;
  warren::Queue queue =
      on.channel.declare_queue(unique_name("locked"), {.durable = false, .exclusive = true});
  Bodies bodies;
  warren::Consumer consumer{on.connection, queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.proxy.strand();  // the broker believes that the connection is there
  REQUIRE(eventually([&] {
    return on.proxy.count([](const Frame& frame) {
      return frame.method == method::channel_close && frame.direction == Direction::to_client;
    }) >= 2;
  }));
  REQUIRE(on.watch.opened(2));  // nothing else waits for it
  on.proxy.resume();            // and now notices
  REQUIRE(eventually([&] {
    const auto lines = on.watch.lines(warren::LogLevel::info);
    return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
      return contains(line, "declared again, with its bindings");
    });
  }));
  warren::Publisher(on.connection, {.routing_key = queue.name()}).publish(warren::Message("hello"));
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
  CHECK(on.watch.lines(warren::LogLevel::error).empty());
}

TEST_CASE("a queue that is known to be gone is told by its own name, whatever of it a text escapes",
          "[faults][topology]") {
  Declaring on;
  const std::string name = unique_name("escaped");
  const std::string gone = name + "\tqueue";  // an error's text says it with a space
  const std::string other = name + " queue";
  for (const std::string& each : {gone, other}) {
    (void)on.channel.declare_queue(each);
    on.beside.declare_queue_passive(each).remove();
  }
  CHECK(thrown<warren::ChannelError>([&] { on.channel.declare_queue_passive(gone); }).code() == 404);
  on.cut();
  CHECK(on.queue_exists(other));
  CHECK_FALSE(on.queue_exists(gone));
  on.beside.declare_queue_passive(other).remove();
}
