#include <warren/warren.hpp>

#include <limits>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::Connection;
using warren::FieldTable;
using warren::InvalidArgument;
using warren::Message;

namespace {

const std::string longest(255, 'x');
const std::string too_long(256, 'x');

struct Fixture {
  explicit Fixture(std::uint32_t frame_max = 131'072) : connection(proxy.endpoint(), with(frame_max)) {}

  static warren::ConnectionOptions with(std::uint32_t frame_max) {
    warren::ConnectionOptions options = test_options();
    options.frame_max = frame_max;
    return options;
  }

  Proxy proxy{shared_broker().endpoint()};
  Connection connection;
  Channel channel = connection.open_channel();
  std::string queue = channel.declare_queue("", {.exclusive = true}).name();

  // Refused with nothing sent; the channel works on.
  template <typename Call>
  bool refused(Call&& call) {
    const auto frames = [&] {
      return proxy.count([](const Frame& frame) {
        return frame.direction == Direction::to_broker &&
               (frame.type == 2 || frame.type == 3 || frame.type == 1);
      });
    };
    channel.declare_queue_passive(queue);  // answered: what came before it has been counted
    const std::size_t before = frames();
    const auto error = thrown<InvalidArgument>(std::forward<Call>(call));
    CHECK(error.permanent());
    CHECK_FALSE(error.in_doubt());
    CHECK(error.scope() == warren::ErrorScope::operation);
    CHECK_FALSE(error.text().empty());
    CHECK_FALSE(error.operation().empty());
    channel.declare_queue_passive(queue);
    return frames() == before + 1 && channel.is_open();
  }
};

FieldTable nested(int levels) {
  FieldTable table{{"leaf", 1}};
  for (int i = 1; i < levels; ++i) table = FieldTable{{"in", table}};
  return table;
}

Message with_headers(FieldTable headers) {
  warren::Properties properties;
  properties.headers = std::move(headers);
  return Message("m", std::move(properties));
}

}  // namespace

TEST_CASE_METHOD(Fixture, "names and keys above 255 bytes are InvalidArgument; at 255 they work") {
  CHECK(refused([&] { channel.publish("", too_long, Message("m")); }));
  CHECK(refused([&] { channel.publish(too_long, "", Message("m")); }));
  CHECK(refused([&] { channel.declare_queue(too_long); }));
  CHECK(refused([&] { channel.declare_queue_passive(too_long); }));
  CHECK(refused([&] { channel.declare_exchange(too_long); }));
  CHECK(refused([&] { channel.declare_exchange_passive(too_long); }));
  CHECK(refused([&] { channel.declare_exchange("x", {.custom_type = too_long}); }));
  CHECK(refused([&] { return channel.get(too_long); }));
  CHECK(refused([&] { return channel.get_no_ack(too_long); }));
  warren::Queue own = channel.declare_queue_passive(queue);
  CHECK(refused([&] { own.bind("amq.topic", too_long); }));
  CHECK(refused([&] { own.bind(too_long, ""); }));
  CHECK(refused([&] { own.unbind("amq.topic", too_long); }));
  warren::Exchange topic = channel.declare_exchange_passive("amq.topic");
  CHECK(refused([&] { topic.bind(too_long, ""); }));
  CHECK(refused([&] { topic.bind("amq.direct", too_long); }));
  CHECK(refused([&] { topic.unbind("amq.direct", too_long); }));

  CHECK(channel.declare_queue(longest, {.exclusive = true}).name() == longest);
  CHECK_NOTHROW(own.bind("amq.topic", longest));
  channel.publish("amq.topic", longest, Message("m"));
  CHECK(eventually([&] { return channel.get_no_ack(queue).has_value(); }));
}

TEST_CASE_METHOD(Fixture,
                 "a property above 255 bytes is InvalidArgument: nothing is sent, not even the method") {
  using P = warren::Properties;
  for (auto member : {&P::content_type, &P::content_encoding, &P::correlation_id, &P::reply_to,
                      &P::message_id, &P::type, &P::user_id, &P::app_id, &P::cluster_id}) {
    Message message("m");
    message.properties().*member = too_long;
    CHECK(refused([&] { channel.publish("", queue, message); }));
  }
  for (const std::chrono::milliseconds wrong : {-1ms, 4'294'967'296ms}) {
    Message message("m");
    message.properties().expiration = wrong;
    CHECK(refused([&] { channel.publish("", queue, message); }));
  }
}

TEST_CASE_METHOD(Fixture,
                 "headers that do not fit one frame are InvalidArgument; those that just fit arrive") {
  CHECK(refused([&] { channel.publish("", queue, with_headers({{"h", std::string(131'072, 'x')}})); }));
  CHECK(refused([&] { channel.publish("", queue, with_headers({{"h", std::string(1 << 20, 'x')}})); }));
  // Frame: 7 + 1; header: class, weight, size, flags 14; table 4; key 2; string 5.
  const std::size_t room = 131'072 - 8 - 14 - 4 - 2 - 5;
  CHECK(refused([&] { channel.publish("", queue, with_headers({{"h", std::string(room + 1, 'x')}})); }));
  const Message fits = with_headers({{"h", std::string(room, 'x')}});
  channel.publish("", queue, fits);
  std::optional<warren::Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(queue)).has_value(); }));
  CHECK(delivery->message() == fits);
}

TEST_CASE_METHOD(Fixture, "a declaration's arguments that do not fit one frame are InvalidArgument") {
  const FieldTable large{{"x-own", std::string(131'072, 'x')}};
  CHECK(refused([&] { channel.declare_queue("never", {.arguments = large}); }));
  CHECK(refused([&] { channel.declare_exchange("never", {.arguments = large}); }));
  warren::Queue own = channel.declare_queue_passive(queue);
  CHECK(refused([&] { own.bind("amq.headers", "", large); }));
}

TEST_CASE_METHOD(Fixture, "what makes RabbitMQ close the connection (501, 541) is InvalidArgument") {
  const std::string bad = "b\xFF";
  const FieldTable nan{{"x", FieldTable{{"load", std::numeric_limits<double>::quiet_NaN()}}}};
  CHECK(refused([&] { channel.declare_queue(bad); }));
  CHECK(refused([&] { channel.declare_queue_passive(bad); }));
  CHECK(refused([&] { channel.declare_exchange(bad); }));
  CHECK(refused([&] { channel.declare_exchange("e", {.custom_type = bad}); }));
  warren::Queue bound = channel.declare_queue_passive(queue);
  CHECK(refused([&] { bound.bind("amq.topic", bad); }));
  CHECK(refused([&] { (void)channel.get(bad); }));
  CHECK(refused([&] { channel.declare_queue("q", {.arguments = nan}); }));
  CHECK(refused([&] { channel.declare_exchange("e", {.arguments = nan}); }));
  CHECK(refused([&] { channel.publish("", queue, Message("m", {.headers = nan})); }));
  warren::Consumer tagged{connection, queue, {.consumer_tag = bad}};
  CHECK_THROWS_AS(tagged.start([](const warren::Delivery&) {}), InvalidArgument);
  warren::Publisher publisher{connection, {.routing_key = queue}};
  CHECK(refused([&] { publisher.publish(Message("m", {.headers = nan})); }));
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.publish(Message("m", {.headers = {{bad, bad}}, .message_id = bad})));
  CHECK(connection.is_open());
}

TEST_CASE("what fits a frame is decided by the negotiated frame_max") {
  Fixture fixture(8'192);
  Channel& channel = fixture.channel;
  const FieldTable large{{"x-own", std::string(8'192, 'x')}};
  CHECK(fixture.refused([&] { channel.declare_queue("never", {.arguments = large}); }));
  CHECK(fixture.refused([&] { channel.declare_exchange("never", {.arguments = large}); }));
  warren::Queue own = channel.declare_queue_passive(fixture.queue);
  CHECK(fixture.refused([&] { own.bind("amq.headers", "", large); }));
  CHECK(fixture.refused([&] { channel.publish("", fixture.queue, with_headers(large)); }));
  CHECK_NOTHROW(own.bind("amq.headers", "", {{"x-own", std::string(8'000, 'x')}}));
}

TEST_CASE_METHOD(Fixture,
                 "tables nested deeper than 32 levels and keys above 255 bytes are InvalidArgument") {
  CHECK(refused([&] { channel.publish("", queue, with_headers(nested(33))); }));
  CHECK(refused([&] { channel.publish("", queue, with_headers({{too_long, 1}})); }));
  CHECK(refused([&] { channel.declare_queue("never", {.arguments = {{too_long, 1}}}); }));
  const Message deepest = with_headers(nested(32));
  channel.publish("", queue, deepest);
  std::optional<warren::Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(queue)).has_value(); }));
  CHECK(delivery->message() == deepest);
}

TEST_CASE_METHOD(Fixture, "a publisher refuses the same, and its next message is confirmed") {
  warren::Publisher publisher{connection, {.routing_key = queue}};
  CHECK(refused([&] { publisher.publish(Message("m"), {.routing_key = too_long}); }));
  CHECK(refused([&] { publisher.publish(Message("m"), {.exchange = too_long}); }));
  CHECK(refused([&] { publisher.publish(with_headers({{"h", std::string(131'072, 'x')}})); }));
  CHECK(refused([&] { publisher.publish(with_headers({{too_long, 1}})); }));
  Message long_id("m");
  long_id.properties().message_id = too_long;
  CHECK(refused([&] { publisher.publish(long_id); }));
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.publish(Message("good")));
  CHECK(channel.declare_queue_passive(queue).message_count() == 1);
}
