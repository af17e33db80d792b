#include <warren/warren.hpp>

#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::ChannelError;
using warren::Connection;

namespace {

const warren::QueueOptions exclusive{.exclusive = true};

// A refusal of the broker's closes the channel, and says so to every later call; the connection is unharmed.
void check_refused(Connection& connection, Channel& channel, const ChannelError& error, std::uint16_t code,
                   const char* text) {
  CHECK(error.code() == code);
  CHECK(contains(error.text(), text));
  CHECK(error.scope() == warren::ErrorScope::channel);
  CHECK_FALSE(error.in_doubt());
  CHECK_FALSE(error.operation().empty());
  CHECK_FALSE(channel.is_open());
  const auto later = thrown<ChannelError>([&] { channel.declare_queue("", exclusive); });
  CHECK(later.code() == code);
  CHECK(later.text() == error.text());
  CHECK(thrown<ChannelError>([&] { channel.publish("", "x", warren::Message("x")); }).code() == code);
  CHECK_NOTHROW(channel.close());
  CHECK(connection.is_open());
  CHECK_NOTHROW(connection.open_channel().declare_queue("", exclusive));
}

}  // namespace

TEST_CASE("what is missing is a ChannelError 404 with the broker's text; the connection is unharmed") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const std::string missing = unique_name("missing");
  const warren::Queue queue = channel.declare_queue("", exclusive);
  const auto call = GENERATE(0, 1, 2, 3, 4, 5);
  const auto error = thrown<ChannelError>([&] {
    switch (call) {
      case 0:
        return (void)channel.declare_queue_passive(missing);
      case 1:
        return (void)channel.declare_exchange_passive(missing);
      case 2:
        return (void)channel.get(missing);
      case 3:
        return (void)channel.get_no_ack(missing);
      case 4:
        return (void)warren::Queue(queue).bind(missing, "key");
      default:
        return channel.declare_exchange("amq.direct").bind(missing, "key");
    }
  });
  CHECK(error.permanent());
  CHECK(contains(error.text(), missing));
  check_refused(connection, channel, error, 404, "NOT_FOUND");
}

TEST_CASE("a raw publish to a missing exchange closes the channel: the next call learns it") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  channel.publish(unique_name("missing"), "key", warren::Message("lost"));
  CHECK(eventually([&] { return !channel.is_open(); }));
  const auto error = thrown<ChannelError>([&] { channel.declare_queue("", exclusive); });
  check_refused(connection, channel, error, 404, "NOT_FOUND");
}

TEST_CASE("what is not allowed is a ChannelError 403") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const bool queue = GENERATE(true, false);
  const auto error = thrown<ChannelError>([&] {
    if (queue) return (void)channel.declare_queue("amq.reserved");
    channel.declare_exchange("amq.reserved");
  });
  CHECK(error.permanent());
  CHECK(contains(error.operation(), "amq.reserved"));
  check_refused(connection, channel, error, 403, "ACCESS_REFUSED");
}

TEST_CASE("another connection's exclusive queue is a ChannelError 405, which may pass") {
  Connection owner{shared_broker().endpoint(), test_options()};
  Channel of_owner = owner.open_channel();
  const std::string name = unique_name("exclusive");
  of_owner.declare_queue(name, exclusive);
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const auto error = thrown<ChannelError>([&] { channel.declare_queue(name, exclusive); });
  CHECK_FALSE(error.permanent());
  check_refused(connection, channel, error, 405, "RESOURCE_LOCKED");
}

TEST_CASE("other arguments than it was declared with are a ChannelError 406 that names them") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const std::string name = unique_name("other-arguments");
  Channel keeper = connection.open_channel();
  keeper.declare_queue(name, {.exclusive = true, .max_length = 1});
  CHECK_NOTHROW(keeper.declare_queue(name, {.exclusive = true, .max_length = 1}));
  const auto error =
      thrown<ChannelError>([&] { channel.declare_queue(name, {.exclusive = true, .max_length = 2}); });
  CHECK(error.permanent());
  CHECK(contains(error.text(), "x-max-length"));
  CHECK(contains(error.operation(), name));
  check_refused(connection, channel, error, 406, "PRECONDITION_FAILED");
}

TEST_CASE("channel numbers are the lowest free ones, and used again after close() and after a 404") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel first = connection.open_channel();
  Channel second = connection.open_channel();
  Channel third = connection.open_channel();
  CHECK(first.number() == 1);
  CHECK(second.number() == 2);
  CHECK(third.number() == 3);

  second.close();
  CHECK_FALSE(second.is_open());
  CHECK(thrown<ChannelError>([&] { second.declare_queue("", exclusive); }).code() == 0);
  CHECK(connection.open_channel().number() == 2);  // gone at once
  CHECK_THROWS_AS(first.declare_queue_passive(unique_name("missing")), ChannelError);
  Channel again = connection.open_channel();
  CHECK(again.number() == 1);
  CHECK_NOTHROW(again.declare_queue("", exclusive));
  CHECK_NOTHROW(third.declare_queue("", exclusive));
}

TEST_CASE("a hundred channels, each closed by a 404 or by close(), never take a second number") {
  Connection connection{shared_broker().endpoint(), test_options()};
  for (int i = 0; i < 100; ++i) {
    Channel channel = connection.open_channel();
    CHECK(channel.number() == 1);
    if (i % 2 == 0) {
      channel.close();
    } else {
      CHECK_THROWS_AS(channel.get("there-is-none"), ChannelError);
    }
  }
}

TEST_CASE("as many channels as negotiated: the next is a ChannelError, until one is closed") {
  warren::ConnectionOptions options = test_options();
  options.channel_max = 3;
  Connection connection{shared_broker().endpoint(), options};
  std::vector<Channel> channels;
  for (int i = 0; i < 3; ++i) channels.push_back(connection.open_channel());
  const auto error = thrown<ChannelError>([&] { return connection.open_channel(); });
  CHECK(error.code() == 0);
  CHECK(contains(error.text(), "3"));
  CHECK(connection.is_open());
  channels[1].close();
  channels.push_back(connection.open_channel());
  CHECK(channels.back().number() == 2);
  channels.pop_back();  // its destructor closes it, without waiting for the answer
  CHECK(eventually([&] {
    try {
      return connection.open_channel().number() == 2;
    } catch (const ChannelError&) {
      return false;
    }
  }));
}

TEST_CASE("the destructor closes the channel: its unsettled deliveries go back") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel keeper = connection.open_channel();
  const warren::Queue queue = keeper.declare_queue("", exclusive);
  keeper.publish("", queue.name(), warren::Message("comes back"));
  std::optional<Channel> channel(connection.open_channel());
  std::optional<warren::Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel->get(queue.name())).has_value(); }));
  CHECK_FALSE(delivery->redelivered());
  channel.reset();
  REQUIRE(eventually([&] { return (delivery = keeper.get(queue.name())).has_value(); }));
  CHECK(delivery->redelivered());
  delivery->ack();
}

TEST_CASE("a channel can be moved; assigning over one closes it") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel first = connection.open_channel();
  Channel moved{std::move(first)};
  CHECK(moved.number() == 1);
  CHECK_NOTHROW(moved.declare_queue("", exclusive));
  Channel other = connection.open_channel();
  moved = std::move(other);
  CHECK(moved.number() == 2);
  CHECK_NOTHROW(moved.declare_queue("", exclusive));
  CHECK(eventually([&] { return connection.open_channel().number() == 1; }));
}

TEST_CASE("set_prefetch sends basic.qos, never global, and 0 is refused: it would be without a limit") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  CHECK_NOTHROW(channel.set_prefetch(1));
  CHECK_NOTHROW(channel.set_prefetch(65'535));
  CHECK_THROWS_AS(channel.set_prefetch(0), warren::InvalidArgument);
  CHECK(channel.is_open());
  // Of each consumer: one for the channel as a whole is listed elsewhere, or nowhere since RabbitMQ 4.
  const std::string row = shared_broker().ctl({"list_channels", "number", "prefetch_count"});
  CHECK(contains(row, "65535"));
}

TEST_CASE("many channels of one connection don't mix their answers and messages up") {
  Connection connection{shared_broker().endpoint(), test_options()};
  std::vector<Channel> channels;
  std::vector<std::string> queues;
  for (int i = 0; i < 50; ++i) {
    channels.push_back(connection.open_channel());
    queues.push_back(channels.back().declare_queue("", exclusive).name());
  }
  CHECK(std::set(queues.begin(), queues.end()).size() == queues.size());
  for (std::size_t i = 0; i < channels.size(); ++i)
    channels[i].publish("", queues[i], warren::Message(queues[i]));
  for (std::size_t i = 0; i < channels.size(); ++i) {
    // On another channel than it was published on.
    Channel& channel = channels[(i + 1) % channels.size()];
    std::optional<warren::Delivery> delivery;
    REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(queues[i])).has_value(); }));
    CHECK(delivery->body() == queues[i]);
  }
}
