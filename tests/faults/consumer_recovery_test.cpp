#include <warren/warren.hpp>

#include <algorithm>
#include <condition_variable>
#include <mutex>

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

struct Consuming : CuttableQueue {
  warren::Publisher publisher{untouched, {.routing_key = queue.name()}};

  explicit Consuming(warren::ConnectionOptions options = recovering_options())
      : CuttableQueue("consuming", std::move(options)) {}

  void cut() {
    const std::size_t openings = watch.count(ConnectionState::open);
    proxy.cut();
    REQUIRE(watch.opened(openings + 1));
  }
  std::uint32_t ready() { return beside.declare_queue_passive(queue.name()).message_count(); }
  std::size_t settlements_on(std::size_t link) const {
    return proxy.count([&](const Frame& frame) {
      return frame.link == link && frame.direction == Direction::to_broker &&
             (frame.method == method::basic_ack || frame.method == method::basic_nack ||
              frame.method == method::basic_reject);
    });
  }
};

bool subscribed(const warren::Consumer& consumer) {
  return eventually([&] { return consumer.status().subscribed; });
}

// Holds handlers up until it is opened.
class Turnstile {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++came_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Waits until so many have come.
  bool has(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 30s, [&] { return came_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int came_ = 0;
  bool open_ = false;
};

}  // namespace

TEST_CASE("a handler that outlives its link settles nothing, and the message comes again",
          "[faults][consumer]") {
  Consuming on;
  Turnstile turnstile;
  Bodies bodies;
  std::atomic<int> calls{0};
  warren::Consumer consumer{on.connection, on.queue.name(), {.prefetch = 5}};
  consumer.start([&](const warren::Delivery& delivery) {
    if (calls++ == 0) turnstile.pass();
    bodies.add(delivery.body());
  });
  for (int i = 0; i < 5; ++i) on.publisher.publish(warren::Message(std::to_string(i)));
  REQUIRE(turnstile.has(1));
  on.cut();
  REQUIRE(subscribed(consumer));
  turnstile.open();
  CHECK(eventually([&] { return bodies.size() == 6 && consumer.status().acked == 5; }));
  CHECK(bodies.count("0") == 2);
  CHECK(consumer.status().stale == 1);
  consumer.stop();
  CHECK(on.ready() == 0);
  // By the tags of the second link alone: 5 of them, from 1.
  for (const Frame& frame : on.proxy.frames()) {
    if (frame.method != method::basic_ack || frame.direction != Direction::to_broker) continue;
    CHECK(frame.link == 1);
    CHECK(frame.delivery_tag >= 1);
    CHECK(frame.delivery_tag <= 5);
  }
}

TEST_CASE("settling a delivery of an older link by hand throws, and sends nothing", "[faults][consumer]") {
  Consuming on;
  std::mutex mutex;
  std::vector<warren::Delivery> deliveries;
  warren::Consumer consumer{
      on.connection, on.queue.name(), {.prefetch = 10, .ack_mode = warren::AckMode::manual}};
  consumer.start([&](const warren::Delivery& delivery) {
    const std::lock_guard lock(mutex);
    deliveries.push_back(delivery);
  });
  const auto received = [&](std::size_t count) {
    return eventually([&] {
      const std::lock_guard lock(mutex);
      return deliveries.size() == count;
    });
  };
  for (int i = 0; i < 4; ++i) on.publisher.publish(warren::Message(std::to_string(i)));
  REQUIRE(received(4));
  on.cut();
  REQUIRE(received(8));  // all four again
  on.proxy.forget_frames();
  const auto refused = [](auto&& settle) {
    CHECK(thrown<warren::Error>(settle).scope() != warren::ErrorScope::operation);
  };
  refused([&] { deliveries[0].ack(); });
  refused([&] { deliveries[1].nack(warren::Requeue::no); });
  refused([&] { deliveries[2].reject(warren::Requeue::no); });
  refused([&] { deliveries[3].ack_up_to(); });
  CHECK(on.settlements_on(1) == 0);
  for (std::size_t i = 4; i < 8; ++i) CHECK(deliveries[i].redelivered());
  deliveries[5].ack_up_to();  // 0 and 1, of this link
  deliveries[6].ack();
  deliveries[7].ack();
  CHECK(eventually([&] { return on.settlements_on(1) >= 3; }));
  CHECK(on.connection.is_open());
  consumer.stop();
  CHECK(on.ready() == 0);
}

TEST_CASE("a delivery of basic.get from before the loss can't be settled after it", "[faults][consumer]") {
  Consuming on;
  on.publisher.publish(warren::Message("got"));
  const auto delivery = on.channel.get(on.queue.name());
  REQUIRE(delivery.has_value());
  on.cut();
  CHECK_THROWS_AS(delivery->ack(), warren::Error);
  const auto again = on.channel.get(on.queue.name());  // the same Channel goes on
  REQUIRE(again.has_value());
  CHECK(again->redelivered());
  CHECK_NOTHROW(again->ack());
}

TEST_CASE("prefetch is never exceeded, after a recovery neither", "[faults][consumer]") {
  Consuming on;
  Turnstile turnstile;
  std::atomic<int> calls{0};
  warren::Consumer consumer{on.connection, on.queue.name(), {.prefetch = 3, .concurrency = 8}};
  consumer.start([&](const warren::Delivery&) {
    if (calls++ < 6) turnstile.pass();
  });
  warren::Confirmation last;
  for (int i = 0; i < 50; ++i) last = on.publisher.publish_async(warren::Message("x"));
  last.wait();
  REQUIRE(turnstile.has(3));
  CHECK(eventually([&] { return on.ready() == 47; }));
  on.cut();
  REQUIRE(turnstile.has(6));  // three that are stale by now, three of the new link
  CHECK(eventually([&] { return on.ready() == 47; }));
  std::this_thread::sleep_for(200ms);  // no more may come
  CHECK(on.ready() == 47);
  CHECK(calls == 6);
  turnstile.open();
  CHECK(eventually([&] { return consumer.status().acked == 50; }));
  consumer.stop();
}

TEST_CASE("an exclusive consumer that the broker still counts for the old link subscribes once it is free",
          "[faults][consumer]") {
  Consuming on;
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name(), {.exclusive = true}};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.proxy.strand();
  REQUIRE(on.watch.opened(2));
  // 403: the queue has its exclusive consumer.
  REQUIRE(eventually([&] {
    return on.proxy.count([](const Frame& frame) { return frame.method == method::basic_consume; }) >= 3;
  }));
  CHECK_FALSE(consumer.status().subscribed);
  on.proxy.resume();
  REQUIRE(subscribed(consumer));
  on.publisher.publish(warren::Message("hello"));
  CHECK(eventually([&] { return bodies.count("hello") == 1; }));
}

TEST_CASE("a consumer whose queue is gone after the outage ends with 404", "[faults][consumer]") {
  Consuming on;
  // Declared by another connection: nobody declares it again.
  warren::Queue queue = on.beside.declare_queue(unique_name("gone"));
  warren::Consumer consumer{on.connection, queue.name(), {.queue_wait = 0ms}};
  consumer.start([](const warren::Delivery&) {});
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  queue.remove();
  on.proxy.take_new(true);
  const auto error = thrown<warren::ChannelError>([&] { consumer.wait(); });
  CHECK(error.code() == 404);
  CHECK(contains(error.text(), queue.name()));
  CHECK(on.connection.is_open());
}

TEST_CASE("a consumer waits for a queue that another program declares after the reconnect, and says so",
          "[faults][consumer]") {
  Consuming on;
  warren::Queue queue = on.beside.declare_queue(unique_name("late"));
  Bodies bodies;
  warren::Consumer consumer{on.connection, queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  queue.remove();
  on.proxy.take_new(true);
  REQUIRE(on.watch.opened(2));
  const auto told = [&] {
    const auto lines = on.watch.lines(warren::LogLevel::warning);
    return std::ranges::count_if(lines, [&](const std::string& line) {
      return contains(line, queue.name()) && contains(line, "the queue is missing") &&
             contains(line, "30000 ms");
    });
  };
  REQUIRE(eventually([&] { return told() >= 2; }));
  CHECK_FALSE(consumer.status().subscribed);
  on.beside.declare_queue(queue.name());
  REQUIRE(subscribed(consumer));
  on.beside.publish("", queue.name(), warren::Message("late"));
  CHECK(eventually([&] { return bodies.count("late") == 1; }));
  consumer.stop();
  on.beside.declare_queue_passive(queue.name()).remove();
}

TEST_CASE("a consumer whose queue stays missing ends with 404 after queue_wait, and a stop ends the wait",
          "[faults][consumer]") {
  Consuming on;
  warren::Queue queue = on.beside.declare_queue(unique_name("gone"));
  const bool stops = GENERATE(true, false);
  warren::Consumer consumer{
      on.connection, queue.name(), {.queue_wait = stops ? std::chrono::milliseconds(10min) : 700ms}};
  consumer.start([](const warren::Delivery&) {});
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  queue.remove();
  on.proxy.take_new(true);
  REQUIRE(on.watch.opened(2));
  if (stops) {
    REQUIRE(eventually([&] { return contains(on.watch.log(), "the queue is missing"); }));
    CHECK_NOTHROW(consumer.stop());
  } else {
    CHECK(thrown<warren::ChannelError>([&] { consumer.wait(); }).code() == 404);
  }
}

namespace {

// A user whose permissions can be taken.
struct User {
  const std::string name = unique_name("user");
  User() {
    shared_broker().ctl({"add_user", name, "secret"});
    permit(".*", ".*");
  }
  ~User() {
    try {
      shared_broker().ctl({"delete_user", name});
    } catch (const std::exception&) {
    }
  }
  User(const User&) = delete;
  User& operator=(const User&) = delete;
  void permit(const char* configure, const char* read) const {
    shared_broker().ctl({"set_permissions", name, configure, ".*", read});
  }
};

struct AsUser {
  User user;
  Proxy proxy{shared_broker().endpoint()};
  Watch watch;
  warren::Connection connection{endpoint(), watch.options()};
  warren::Connection untouched{shared_broker().endpoint(), recovering_options()};
  warren::Channel beside = untouched.open_channel();
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue(unique_name("permitted"), {.auto_delete = true});

  [[nodiscard]] warren::Endpoint endpoint() const {
    warren::Endpoint endpoint = proxy.endpoint();
    endpoint.user = user.name;
    endpoint.password = "secret";
    return endpoint;
  }
  [[nodiscard]] auto told(const std::string& what) const {
    const auto lines = watch.lines(warren::LogLevel::warning);
    return std::ranges::count_if(
        lines, [&](const std::string& line) { return contains(line, queue.name()) && contains(line, what); });
  }
};

}  // namespace

TEST_CASE("a consumer whose permission is revoked says so with each try, and goes on once it is back",
          "[faults][consumer]") {
  AsUser on;
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  on.user.permit(".*", "nothing");
  on.proxy.take_new(true);
  REQUIRE(on.watch.opened(2));
  REQUIRE(eventually([&] { return on.told("403") >= 3; }, 30s));
  CHECK(on.told("The next try is in 500 ms") == 1);
  CHECK(on.told("The next try is in 1000 ms") == 1);  // with backoff
  CHECK(on.told("The next try is in 2000 ms") == 1);
  CHECK_FALSE(consumer.status().subscribed);
  on.user.permit(".*", ".*");
  REQUIRE(eventually([&] { return consumer.status().subscribed; }, 30s));
  on.beside.publish("", on.queue.name(), warren::Message("back"));
  CHECK(eventually([&] { return bodies.count("back") == 1; }));
}

TEST_CASE("a queue that went between its declaration and the subscription is declared again",
          "[faults][consumer]") {
  AsUser on;
  warren::Exchange exchange = on.channel.declare_exchange(
      unique_name("bound"), {.type = warren::ExchangeType::fanout, .auto_delete = true});
  on.queue.bind(exchange.name(), "");
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  // The recovery can't declare it, as if it had gone right after: the queue is missing for the consumer.
  on.user.permit("nothing", ".*");
  on.proxy.take_new(true);
  REQUIRE(on.watch.opened(2));
  REQUIRE(eventually([&] { return on.told("the queue is missing") >= 1; }));
  on.user.permit(".*", ".*");
  REQUIRE(eventually([&] { return consumer.status().subscribed; }, 30s));
  on.beside.publish(exchange.name(), "", warren::Message("bound"));
  CHECK(eventually([&] { return bodies.count("bound") == 1; }));
}

TEST_CASE("a subscription that the broker cancels is begun anew, or ends where its queue is gone",
          "[faults][consumer]") {
  Consuming on;
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  on.publisher.publish(warren::Message("before"));
  REQUIRE(eventually([&] { return bodies.count("before") == 1; }));
  SECTION("the queue is declared anew at once: it goes on, and recovers") {
    on.beside.declare_queue_passive(on.queue.name()).remove();
    on.beside.declare_queue(on.queue.name());
    REQUIRE(subscribed(consumer));
    on.publisher.publish(warren::Message("after"));
    CHECK(eventually([&] { return bodies.count("after") == 1; }));
    on.cut();
    REQUIRE(subscribed(consumer));
    on.publisher.publish(warren::Message("last"));
    CHECK(eventually([&] { return bodies.count("last") == 1; }));
  }
  SECTION("the queue is gone: it ends, and the queue does not return") {
    on.beside.declare_queue_passive(on.queue.name()).remove();
    const auto error = thrown<warren::ConsumerCancelledError>([&] { consumer.wait(); });
    CHECK(error.code() == 404);
    on.cut();
    CHECK_THROWS_AS(on.channel.declare_queue_passive(on.queue.name()), warren::ChannelError);
  }
}

TEST_CASE("a link that stalls right after the login is given up, and the consumer is not",
          "[faults][consumer]") {
  warren::ConnectionOptions options = recovering_options();
  options.operation_timeout = 2s;  // far below two heartbeats
  options.heartbeat = 6s;
  Consuming on(options);
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  warren::Publisher in_flight{on.connection, {.routing_key = on.queue.name()}};
  on.proxy.stall(Direction::to_broker);
  warren::Confirmation confirmation = in_flight.publish_async(warren::Message("in flight"));
  // Nothing passes behind the login, or behind one of the answers that follow: of the topology, the
  // publisher, the consumer.
  std::size_t login = 0;
  for (const Frame& frame : on.proxy.frames()) {
    if (frame.direction == Direction::to_client) login += frame.size + 8;
    if (frame.method == method::connection_open_ok) break;
  }
  const std::size_t bytes = login + GENERATE(0U, 1U, 17U, 60U, 75U, 90U, 105U, 120U, 135U);
  on.proxy.resume();
  on.proxy.stall_new_after(Direction::to_client, bytes);
  const std::size_t seen = on.proxy.links_seen();
  on.proxy.cut();
  REQUIRE(eventually([&] { return on.proxy.links_seen() > seen; }));
  on.proxy.stall_new_after(Direction::to_client, SIZE_MAX);
  const bool again = eventually([&] { return consumer.status().subscribed; }, 30s);
  INFO(on.watch.log());
  CHECK(again);
  CHECK_NOTHROW(confirmation.wait());
  CHECK(eventually([&] { return bodies.count("in flight") >= 1; }));
  on.proxy.resume();
}

TEST_CASE("stop() during an outage returns at once", "[faults][consumer]") {
  Consuming on;
  warren::Consumer consumer{on.connection, on.queue.name()};
  consumer.start([](const warren::Delivery&) {});
  on.proxy.take_new(false);
  on.proxy.cut();
  REQUIRE(eventually([&] { return !on.connection.is_open(); }));
  CHECK(time_of([&] { consumer.stop(); }) < slack);
  CHECK_NOTHROW(consumer.wait());
  const std::size_t openings = on.watch.count(ConnectionState::open);
  on.proxy.take_new(true);
  REQUIRE(on.watch.opened(openings + 1));
  CHECK(on.beside.declare_queue_passive(on.queue.name()).consumer_count() == 0);
}

TEST_CASE("a consumer subscribes again however often the link is lost, and never stands idle",
          "[faults][consumer]") {
  Consuming on;
  Bodies bodies;
  warren::Consumer consumer{on.connection, on.queue.name(), {.concurrency = 3}};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  for (int i = 0; i < 20; ++i) {
    INFO(i);
    const std::size_t seen = on.proxy.links_seen();
    if (i % 2 == 0) on.proxy.cut_new_after(Direction::to_client, static_cast<std::size_t>(560 + i * 15));
    on.proxy.cut();
    REQUIRE(eventually([&] { return on.proxy.links_seen() > seen; }));
    on.proxy.cut_new_after(Direction::to_client, SIZE_MAX);
    const std::string body = std::to_string(i);
    on.publisher.publish(warren::Message(body));
    REQUIRE(eventually([&] { return bodies.count(body) >= 1; }));
  }
  CHECK(eventually([&] { return on.beside.declare_queue_passive(on.queue.name()).consumer_count() == 1; }));
}

TEST_CASE("an acknowledgement that is overdue restores the consumer, and says why", "[faults][consumer]") {
  PrivateBroker broker;
  // From 4.3 on the timeout is quorum queues' alone, and a basic.cancel.
  const bool cancels = broker.version() >= std::pair(4, 3);
  broker.ctl({"eval", "application:set_env(rabbit, consumer_timeout, 1000)."});
  broker.ctl({"eval", "application:set_env(rabbit, channel_tick_interval, 1000)."});
  Watch watch;
  Connection connection{broker.endpoint(), watch.options()};
  warren::Channel channel = connection.open_channel();
  warren::QueueOptions queue;
  if (cancels) queue.type = warren::QueueType::quorum;
  channel.declare_queue("overdue", queue);
  Turnstile turnstile;
  Bodies bodies;
  std::atomic<int> calls{0};
  warren::Consumer consumer{connection, "overdue"};
  consumer.start([&](const warren::Delivery& delivery) {
    if (calls++ == 0) turnstile.pass();
    bodies.add(delivery.body());
  });
  warren::Publisher(connection, {.routing_key = "overdue"}).publish(warren::Message("slow"));
  REQUIRE(turnstile.has(1));
  REQUIRE(eventually([&] { return !watch.lines(warren::LogLevel::error).empty(); }, 30s));
  CHECK(contains(watch.lines(warren::LogLevel::error).front(), "overdue"));
  REQUIRE(subscribed(consumer));
  turnstile.open();
  CHECK(eventually([&] { return bodies.count("slow") == 2 && consumer.status().acked == 1; }));
  CHECK(consumer.status().stale == 1);
  CHECK(connection.is_open());
}
