#include <warren/warren.hpp>

#include <algorithm>
#include <atomic>
#include <future>
#include <set>

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
using warren::ConnectionError;
using warren::ConnectionState;
using warren::PublishOutcome;

namespace {

struct Publishing : CuttableQueue {
  Publishing() : CuttableQueue("publishing") {}

  void lose() {
    proxy.take_new(false);
    proxy.cut();
    REQUIRE(eventually([&] { return !connection.is_open(); }));
  }
  void heal() {
    const std::size_t openings = watch.count(ConnectionState::open);
    proxy.resume();
    proxy.take_new(true);
    REQUIRE(watch.opened(openings + 1));
  }
  std::size_t published_frames() const {
    return proxy.count([](const Frame& frame) { return frame.method == method::basic_publish; });
  }
  std::vector<warren::Delivery> all() {
    std::vector<warren::Delivery> all;
    while (auto delivery = beside.get_no_ack(queue.name())) all.push_back(std::move(*delivery));
    return all;
  }
};

warren::Message message(const std::string& id) {
  return warren::Message("body of " + id, {.headers = {{"number", id}}, .message_id = id});
}

}  // namespace

TEST_CASE(
    "what was in flight when the link was lost is sent again, with its message id, and confirmed",
    "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  // Either the broker has them, and its confirms never come back, or it never got them.
  const bool received = GENERATE(true, false);
  on.proxy.stall(received ? Direction::to_client : Direction::to_broker);
  std::vector<warren::Confirmation> confirmations;
  std::set<std::string> sent;
  for (int i = 0; i < 100; ++i) {
    const std::string id = std::to_string(1'000 + i);
    sent.insert(id);
    confirmations.push_back(publisher.publish_async(message(id)));
  }
  if (received) {
    REQUIRE(
        eventually([&] { return on.beside.declare_queue_passive(on.queue.name()).message_count() == 100; }));
  }
  on.lose();
  CHECK(publisher.in_flight() == 100);
  on.heal();
  for (warren::Confirmation& confirmation : confirmations) {
    confirmation.wait();
    CHECK(confirmation.outcome() == PublishOutcome::confirmed);
  }
  CHECK(publisher.in_flight() == 0);

  std::vector<std::string> order;
  for (const warren::Delivery& delivery : on.all()) {
    const std::string id = delivery.properties().message_id.value_or("none");
    CHECK(delivery.body() == "body of " + id);
    const warren::FieldValue* number = delivery.headers().find("number");
    CHECK((number != nullptr && number->as_string() == id));
    order.push_back(id);
  }
  CHECK(std::set<std::string>(order.begin(), order.end()) == sent);
  CHECK(order.size() == (received ? 200U : 100U));
  if (!received) CHECK(std::is_sorted(order.begin(), order.end()));
  // Numbers start again with the channel.
  CHECK_NOTHROW(publisher.publish(message("after")));
}

TEST_CASE("publishes stay in their order across losses", "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  std::vector<warren::Confirmation> confirmations;
  for (int i = 0; i < 20; ++i) {
    on.proxy.stall(Direction::to_broker);
    for (int j = 0; j < 10; ++j) {
      confirmations.push_back(publisher.publish_async(message(std::to_string(1'000 + i * 10 + j))));
    }
    on.lose();
    on.heal();
  }
  for (warren::Confirmation& confirmation : confirmations) confirmation.wait();
  std::vector<std::string> order;
  for (const warren::Delivery& delivery : on.all()) {
    const std::string id = delivery.properties().message_id.value_or("none");
    if (std::find(order.begin(), order.end(), id) == order.end()) order.push_back(id);
  }
  CHECK(order.size() == 200);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("OnLoss::fail ends what was in flight as unknown at once, and nothing is sent again",
          "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection,
                              {.routing_key = on.queue.name(), .on_loss = warren::OnLoss::fail}};
  on.proxy.stall(Direction::to_client);
  warren::Confirmation confirmation = publisher.publish_async(message("async"));
  auto waiting = std::async(std::launch::async, [&] {
    return thrown<ConnectionError>([&] { publisher.publish(message("sync")); }).details();
  });
  REQUIRE(eventually([&] { return publisher.in_flight() == 2; }));
  on.lose();
  REQUIRE(waiting.wait_for(slack) == std::future_status::ready);
  CHECK(waiting.get().in_doubt);
  CHECK(eventually([&] { return confirmation.outcome() == PublishOutcome::unknown; }, slack));
  CHECK(thrown<ConnectionError>([&] { confirmation.wait(); }).in_doubt());
  on.proxy.forget_frames();
  on.heal();
  publisher.publish(message("after"));
  CHECK(on.published_frames() == 1);
}

TEST_CASE("a publish that begins during an outage waits for its end", "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  on.lose();
  auto publishing = std::async(std::launch::async, [&] { publisher.publish(message("waited")); });
  auto asynchronously =
      std::async(std::launch::async, [&] { publisher.publish_async(message("too")).wait(); });
  CHECK(publishing.wait_for(300ms) == std::future_status::timeout);
  on.heal();
  CHECK_NOTHROW(publishing.get());
  CHECK_NOTHROW(asynchronously.get());
  CHECK(on.all().size() == 2);
}

TEST_CASE("publish_async during an outage returns at once, within the window, and is sent after it",
          "[faults][publisher]") {
  Publishing on;
  const auto on_loss = GENERATE(warren::OnLoss::resend, warren::OnLoss::fail);
  warren::Publisher publisher{
      on.connection, {.routing_key = on.queue.name(), .window = 20, .timeout = 60s, .on_loss = on_loss}};
  on.lose();
  std::vector<warren::Confirmation> confirmations;
  const auto took = time_of([&] {
    for (int i = 0; i < 20; ++i) confirmations.push_back(publisher.publish_async(message(std::to_string(i))));
  });
  CHECK(took < 30s);  // half of what one of them would wait
  CHECK(publisher.in_flight() == 20);
  CHECK(confirmations.front().outcome() == PublishOutcome::pending);
  // Bounded as ever.
  const auto full = thrown<warren::TimeoutError>(
      [&] { (void)publisher.publish_async(message("no room"), {.timeout = 100ms}); });
  CHECK_FALSE(full.in_doubt());
  auto waits = std::async(std::launch::async, [&] { publisher.publish(message("20")); });
  CHECK(waits.wait_for(50ms) == std::future_status::timeout);
  on.heal();
  for (warren::Confirmation& each : confirmations) CHECK_NOTHROW(each.wait());
  CHECK_NOTHROW(waits.get());
  std::vector<std::string> order;
  for (const warren::Delivery& delivery : on.all())
    order.push_back(delivery.properties().message_id.value_or(""));
  REQUIRE(order.size() == 21);
  for (int i = 0; i <= 20; ++i) CHECK(order[static_cast<std::size_t>(i)] == std::to_string(i));
}

TEST_CASE(
    "publish_async during an outage that lasts fails at its deadline, was not sent, and leaves the window",
    "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name(), .window = 2}};
  on.lose();
  warren::Confirmation waited = publisher.publish_async(message("a"), {.timeout = 300ms});
  warren::Confirmation asked = publisher.publish_async(message("b"), {.timeout = 300ms});
  // It needs the room that those leave.
  auto next =
      std::async(std::launch::async, [&] { return publisher.publish_async(message("c"), {.timeout = 60s}); });
  const auto error = thrown<ConnectionError>([&] { waited.wait(); });
  CHECK_FALSE(error.in_doubt());
  CHECK_FALSE(error.permanent());
  CHECK(eventually([&] { return asked.outcome() == PublishOutcome::unknown; }));
  CHECK_FALSE(thrown<ConnectionError>([&] { asked.wait(); }).in_doubt());
  warren::Confirmation sent = next.get();
  CHECK(publisher.in_flight() == 1);
  on.heal();
  CHECK_NOTHROW(sent.wait());
  CHECK(on.all().size() == 1);
}

TEST_CASE(
    "a publish that timed out is unknown, is not in flight, and leaves the window once it can't be confirmed",
    "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name(), .window = 1}};
  on.proxy.stall();
  warren::Confirmation open = publisher.publish_async(message("late"), {.timeout = 200ms});
  (void)eventually([&] { return publisher.in_flight() == 0; });
  CHECK(publisher.in_flight() == 0);
  CHECK(open.outcome() == PublishOutcome::unknown);
  CHECK(thrown<warren::TimeoutError>([&] { open.wait(); }).in_doubt());
  CHECK_NOTHROW(publisher.flush(100ms));
  // The broker may still confirm it: its place is taken.
  CHECK_THROWS_AS(publisher.publish_async(message("no room"), {.timeout = 50ms}), warren::TimeoutError);
  on.lose();
  warren::Confirmation next;
  CHECK_NOTHROW(next = publisher.publish_async(message("next"), {.timeout = 60s}));
  on.proxy.forget_frames();
  on.heal();
  CHECK_NOTHROW(next.wait());
  CHECK(open.outcome() == PublishOutcome::unknown);
  CHECK(on.published_frames() == 1);
}

TEST_CASE("flush() throws the timeout of a publish whose Confirmation was dropped", "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  on.proxy.stall();
  (void)publisher.publish_async(message("late"), {.timeout = 100ms});
  CHECK(thrown<warren::TimeoutError>([&] { publisher.flush(30s); }).in_doubt());
  CHECK_NOTHROW(publisher.flush(1s));
  on.proxy.resume();
}

TEST_CASE("what is published while a closed channel comes back is taken at once, too",
          "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  for (int i = 0; i < 50; ++i) {
    warren::Confirmation bad =
        publisher.publish_async(message("bad"), {.exchange = "there-is-no-such-exchange"});
    warren::Confirmation good = publisher.publish_async(message("good"));
    CHECK_THROWS_AS(bad.wait(), warren::ChannelError);
    CHECK_NOTHROW(good.wait());
  }
  // A loss in the midst of it blames nobody else.
  on.proxy.stall(Direction::to_broker);
  warren::Confirmation bad =
      publisher.publish_async(message("bad"), {.exchange = "there-is-no-such-exchange"});
  warren::Confirmation good = publisher.publish_async(message("good"));
  on.lose();
  on.heal();
  CHECK_THROWS_AS(bad.wait(), warren::ChannelError);
  CHECK_NOTHROW(good.wait());
  CHECK(on.connection.is_open());
}

TEST_CASE("a publish whose deadline comes during an outage says whether it was sent", "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name(), .timeout = 400ms}};
  SECTION("it began in the outage: not sent") {
    on.lose();
    std::optional<ConnectionError> error;
    const auto took =
        time_of([&] { error = thrown<ConnectionError>([&] { publisher.publish(message("late")); }); });
    CHECK(took >= 350ms);
    CHECK(took < 400ms + slack);
    CHECK_FALSE(error->in_doubt());
    on.heal();
    publisher.publish(message("after"), {.timeout = 10s});
    CHECK(on.all().size() == 1);
  }
  SECTION("it was in flight: in doubt, and not sent again") {
    on.proxy.stall(Direction::to_broker);
    warren::Confirmation confirmation = publisher.publish_async(message("late"));
    on.lose();
    CHECK(thrown<warren::TimeoutError>([&] { confirmation.wait(); }).in_doubt());
    on.proxy.forget_frames();
    on.heal();
    CHECK(eventually([&] { return confirmation.outcome() == PublishOutcome::unknown; }));
    publisher.publish(message("after"), {.timeout = 10s});
    CHECK(on.published_frames() == 1);
    CHECK(publisher.in_flight() == 0);
    CHECK(on.all().size() == 1);
  }
}

TEST_CASE("a message that can't be routed ends as returned, once, where the link was lost over it",
          "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = unique_name("nowhere")}};
  on.proxy.stall(Direction::to_client);
  warren::Confirmation confirmation = publisher.publish_async(warren::Message("returned"));
  REQUIRE(eventually([&] { return on.published_frames() == 1; }));
  on.lose();
  on.heal();
  // The first one may have been routed.
  CHECK(thrown<warren::ReturnedError>([&] { confirmation.wait(); }).in_doubt());
  CHECK(confirmation.outcome() == PublishOutcome::returned);
  CHECK(publisher.in_flight() == 0);
}

TEST_CASE("a message that closes the channel when it is sent again ends with that error, not in a loop",
          "[faults][publisher]") {
  Publishing on;
  warren::Exchange exchange = on.beside.declare_exchange(unique_name("goes"));
  on.beside.declare_queue_passive(on.queue.name()).bind(exchange, "key");
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  const bool alone = GENERATE(true, false);
  on.proxy.stall(Direction::to_broker);
  std::vector<warren::Confirmation> others;
  if (!alone) others.push_back(publisher.publish_async(message("before")));
  warren::Confirmation poison = publisher.publish_async(message("poison"), {.exchange = exchange.name()});
  if (!alone) others.push_back(publisher.publish_async(message("behind")));
  on.lose();
  exchange.remove();
  on.proxy.forget_frames();
  on.heal();
  const auto error = thrown<warren::ChannelError>([&] { poison.wait(); });
  CHECK(error.code() == 404);
  CHECK(error.in_doubt());  // what was sent first may have been taken
  CHECK(poison.outcome() == PublishOutcome::unknown);
  for (warren::Confirmation& other : others) {
    CHECK(eventually([&] { return other.outcome() != PublishOutcome::pending; }));
  }
  CHECK(eventually([&] { return publisher.in_flight() == 0; }));
  CHECK(on.published_frames() <= 7);  // the others at most once more, as they were in flight beside it
  CHECK_NOTHROW(publisher.publish(message("after")));
  CHECK(on.connection.is_open());
}

TEST_CASE("messages in flight are split anew for a broker of smaller frames", "[faults][publisher]") {
  PrivateBroker small("frame_max = 8192");
  Proxy proxy(shared_broker().endpoint());
  Watch watch;
  Connection connection{{proxy.endpoint(), small.endpoint()}, watch.options()};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue(unique_name("small-frames"), {.auto_delete = true});
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};
  publisher.publish(warren::Message("here"));
  const warren::Message unfit("unfit", {.headers = {{"large", std::string(20'000, 'h')}}});
  proxy.stall(Direction::to_broker);
  const std::string body(100'000, 'x');
  std::vector<warren::Confirmation> confirmations;
  for (int i = 0; i < 3; ++i) confirmations.push_back(publisher.publish_async(warren::Message(body)));
  warren::Confirmation refused = publisher.publish_async(unfit);
  proxy.take_new(false);
  proxy.cut();
  REQUIRE(watch.opened(2));
  for (warren::Confirmation& confirmation : confirmations) CHECK_NOTHROW(confirmation.wait());
  CHECK(thrown<ConnectionError>([&] { refused.wait(); }).in_doubt());
  CHECK(refused.outcome() == PublishOutcome::unknown);
  CHECK_THROWS_AS(publisher.publish(unfit), warren::InvalidArgument);
  for (int i = 0; i < 3; ++i) {
    const auto delivery = channel.get_no_ack(queue.name());
    REQUIRE(delivery.has_value());
    CHECK(delivery->body() == body);
  }
  CHECK_FALSE(channel.get_no_ack(queue.name()).has_value());
}

TEST_CASE("a publisher that is closed during an outage ends what was in flight as unknown",
          "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  on.proxy.stall(Direction::to_client);
  warren::Confirmation confirmation = publisher.publish_async(message("in flight"));
  on.lose();
  CHECK(time_of([&] { publisher.close(); }) < slack);
  CHECK(eventually([&] { return confirmation.outcome() == PublishOutcome::unknown; }, slack));
  on.proxy.forget_frames();
  on.heal();
  CHECK(on.published_frames() == 0);
}

TEST_CASE(
    "a publisher that is closed while its channel is opened again stays closed, and so does the channel",
    "[faults][publisher]") {
  std::atomic<int> connections{0};
  std::atomic<bool> closed{false};
  std::atomic<bool> channel_closed{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    const bool first = ++connections == 1;
    if (!first) (void)eventually([&] { return closed.load(); });
    link.send(method_frame(1, 0x0014000B, number(0, 4)));
    link.receive(method::confirm_select);
    link.send(method_frame(1, method::confirm_select_ok));
    link.receive(first ? method::basic_publish : method::channel_close);
    if (first) return;  // lost
    channel_closed = true;
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;  // the peer answers no close
  Connection connection{peer.endpoint(), options};
  warren::Publisher publisher{connection, {.routing_key = "q", .timeout = 2s}};
  const warren::Confirmation confirmation = publisher.publish_async(message("in flight"));
  REQUIRE(eventually([&] { return connections == 2; }));
  publisher.close();
  CHECK(confirmation.outcome() == PublishOutcome::unknown);
  closed = true;
  REQUIRE(watch.opened(2));
  CHECK_THROWS_AS(publisher.publish(message("after")), warren::ChannelError);
  CHECK(eventually([&] { return channel_closed.load(); }));
}

TEST_CASE("flush() waits for what is sent again", "[faults][publisher]") {
  Publishing on;
  warren::Publisher publisher{on.connection, {.routing_key = on.queue.name()}};
  on.proxy.stall(Direction::to_client);
  for (int i = 0; i < 10; ++i) (void)publisher.publish_async(message(std::to_string(i)));
  on.lose();
  CHECK_THROWS_AS(publisher.flush(200ms), warren::TimeoutError);
  on.heal();
  CHECK_NOTHROW(publisher.flush(10s));
  CHECK(on.all().size() >= 10);
}

TEST_CASE("a publisher waits while the broker blocks, also across a loss", "[faults][publisher]") {
  PrivateBroker broker;
  Proxy proxy(broker.endpoint());
  Watch watch;
  Connection connection{proxy.endpoint(), watch.options()};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue("blocked");
  // rabbitmqctl alone takes seconds on a busy machine.
  warren::Publisher publisher{connection, {.routing_key = queue.name(), .timeout = 120s}};
  Bodies bodies;
  Connection consuming{broker.endpoint(), recovering_options()};
  warren::Consumer consumer{consuming, queue.name()};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  publisher.publish(warren::Message("before"));

  broker.begin_memory_alarm();
  warren::Confirmation first = publisher.publish_async(warren::Message("makes it block"));
  REQUIRE(eventually([&] { return connection.blocked().has_value(); }));
  auto publishing = std::async(std::launch::async, [&] { publisher.publish(warren::Message("waits")); });
  const auto error = thrown<warren::BlockedError>(
      [&] { publisher.publish(warren::Message("too late"), {.timeout = 300ms}); });
  CHECK_FALSE(error.in_doubt());

  proxy.cut();
  REQUIRE(watch.opened(2));  // its publishes are sent again, and it is blocked again
  CHECK(publishing.wait_for(500ms) == std::future_status::timeout);
  broker.end_memory_alarm();
  CHECK_NOTHROW(first.wait());
  CHECK_NOTHROW(publishing.get());
  CHECK(eventually([&] { return bodies.count("makes it block") >= 1 && bodies.count("waits") >= 1; }));
  CHECK(bodies.count("too late") == 0);
  CHECK(eventually([&] { return !connection.blocked().has_value(); }));
}

TEST_CASE("a broker that blocks during the recovery is waited for, not dropped", "[faults][publisher]") {
  std::atomic<int> connections{0};
  std::atomic<bool> unblocks{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    const int nth = connections++;
    const auto open_ok = [](std::uint16_t channel) {
      return method_frame(channel, 0x0014000B, number(0, 4));
    };
    const auto open_channel = [&] {
      const std::uint16_t channel = link.receive(method::channel_open).channel;
      link.send(open_ok(channel));
      link.receive(method::confirm_select);
      link.send(method_frame(channel, method::confirm_select_ok));
      return channel;
    };
    const auto confirm = [&](std::uint16_t channel) {
      link.send(method_frame(channel, method::basic_ack, number(1, 8) + number(0, 1)));
    };
    link.shake_hands();
    const std::uint16_t first = open_channel();
    if (nth == 0) {
      open_channel();
      link.receive(method::basic_publish);
      link.receive(method::basic_publish);
      return;  // lost
    }
    link.receive(method::basic_publish);
    if (nth == 1) {
      link.send(method_frame(0, method::connection_blocked, short_string("low on memory")));
      const std::uint16_t late = link.receive(method::channel_open).channel;
      link.receive(method::channel_close);  // it was waited for in vain
      (void)eventually([&] { return unblocks.load(); });
      link.send(open_ok(late) + method_frame(late, method::channel_close_ok) + method_frame(0, 0x000A003D));
    }
    confirm(first);
    const std::uint16_t second = open_channel();
    link.receive(method::basic_publish);
    confirm(second);
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.operation_timeout = 3s;
  options.close_timeout = 100ms;  // the peer answers no close
  Connection connection{peer.endpoint(), options};
  warren::Publisher one{connection, {.routing_key = "q"}};
  warren::Publisher another{connection, {.routing_key = "q"}};
  const auto first = one.publish_async(warren::Message("first"));
  const auto second = another.publish_async(warren::Message("second"));
  CHECK(eventually([&] {
    const auto lines = watch.lines(warren::LogLevel::warning);
    return std::any_of(lines.begin(), lines.end(), [](const auto& line) { return contains(line, "waits"); });
  }));
  unblocks = true;
  CHECK(eventually([&] {
    return first.outcome() == PublishOutcome::confirmed && second.outcome() == PublishOutcome::confirmed;
  }));
  CHECK(watch.opened(2));
  CHECK(connections == 2);
}
