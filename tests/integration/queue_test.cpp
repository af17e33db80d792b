#include <warren/warren.hpp>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::ChannelError;
using warren::Connection;
using warren::Queue;
using warren::QueueOptions;
using warren::QueueType;

namespace {

struct Fixture {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();

  void fill(const std::string& queue, int count) {
    warren::Publisher publisher{connection, {.routing_key = queue}};
    for (int i = 0; i < count; ++i) publisher.publish(warren::Message("m"));
  }
};

struct Told {
  std::string arguments, durable, auto_delete, exclusive;
};

// What the broker says of a queue.
Told told_of(const std::string& name) {
  for (const auto& row :
       shared_broker().list({"list_queues", "name", "arguments", "durable", "auto_delete", "exclusive"})) {
    if (row.front() == name) return {row.at(1), row.at(2), row.at(3), row.at(4)};
  }
  throw std::runtime_error("the broker knows no queue " + name);
}

// Whether it lists a type that the declaration left out: since RabbitMQ 4.
bool lists_default_type() { return std::stoi(shared_broker().ctl({"version"})) >= 4; }

}  // namespace

TEST_CASE_METHOD(Fixture,
                 "a queue is durable and of the broker's default type by default, with no arguments; the "
                 "counts are the broker's") {
  const std::string name = unique_name("default");
  const Queue queue = channel.declare_queue(name);
  CHECK(queue.name() == name);
  CHECK(queue.message_count() == 0);
  CHECK(queue.consumer_count() == 0);
  const Told told = told_of(name);
  CHECK(told.arguments == (lists_default_type() ? R"([{"x-queue-type","classic"}])" : "[]"));
  CHECK(told.durable == "true");
  CHECK(told.auto_delete == "false");
  CHECK(told.exclusive == "false");

  fill(name, 3);
  warren::Consumer consumer{
      connection, name, {.prefetch = 1, .ack_mode = warren::AckMode::manual, .drain_timeout = 0ms}};
  consumer.start([](const warren::Delivery&) {});
  Queue seen = channel.declare_queue_passive(name);
  CHECK(seen.consumer_count() == 1);
  CHECK(seen.message_count() >= 2);
  CHECK(thrown<ChannelError>([&] { seen.remove({.if_unused = true}); }).code() == 406);
  try {
    consumer.stop();
  } catch (const warren::TimeoutError&) {  // what is unsettled is wanted back
  }
  channel = connection.open_channel();
  CHECK(channel.declare_queue(name).remove() == 3);
}

TEST_CASE_METHOD(Fixture,
                 "a classic queue is asked for by name, and is the one that the broker's default was") {
  const std::string name = unique_name("by-name");
  Queue queue = channel.declare_queue(name, {.type = QueueType::classic});
  CHECK(told_of(name).arguments == R"([{"x-queue-type","classic"}])");
  CHECK_NOTHROW(channel.declare_queue(name));
  queue.remove();
}

TEST_CASE_METHOD(Fixture,
                 "each typed option of a classic queue reaches the broker under its argument's name") {
  const std::string name = unique_name("classic");
  Queue queue = channel.declare_queue(name, {.durable = false,
                                             .exclusive = true,
                                             .auto_delete = true,
                                             .message_ttl = 60s,
                                             .expires = 1h,
                                             .max_length = 5'000'000'000,
                                             .max_length_bytes = 6'000'000'000,
                                             .overflow = warren::Overflow::reject_publish_dlx,
                                             .dead_letter_exchange = "amq.direct",
                                             .dead_letter_routing_key = "dead",
                                             .single_active_consumer = true,
                                             .max_priority = 9,
                                             .arguments = {{"x-max-priority", 3}, {"x-own", "kept"}}});
  const Told told = told_of(name);
  CHECK(told.durable == "false");
  CHECK(told.auto_delete == "true");
  CHECK(told.exclusive == "true");
  for (const char* argument :
       {"{\"x-message-ttl\",60000}", "{\"x-expires\",3600000}", "{\"x-max-length\",5000000000}",
        "{\"x-max-length-bytes\",6000000000}", "{\"x-overflow\",\"reject-publish-dlx\"}",
        "{\"x-dead-letter-exchange\",\"amq.direct\"}", "{\"x-dead-letter-routing-key\",\"dead\"}",
        "{\"x-single-active-consumer\",true}", "{\"x-max-priority\",9}", "{\"x-own\",\"kept\"}"}) {
    INFO(argument << " in " << told.arguments);
    CHECK(contains(told.arguments, argument));
  }
  CHECK_FALSE(contains(told.arguments, "{\"x-max-priority\",3}"));  // the typed option wins
  CHECK(contains(told.arguments, "x-queue-type") == lists_default_type());
}

TEST_CASE_METHOD(Fixture,
                 "each typed option of a quorum queue reaches the broker; it takes and gives messages") {
  const std::string name = unique_name("quorum");
  Queue queue =
      channel.declare_queue(name, {.type = QueueType::quorum,
                                   .overflow = warren::Overflow::reject_publish,
                                   .dead_letter_exchange = "",
                                   .dead_letter_routing_key = "parked",
                                   .dead_letter_strategy = warren::DeadLetterStrategy::at_least_once,
                                   .delivery_limit = 20,
                                   .initial_group_size = 1,
                                   .leader_locator = warren::LeaderLocator::client_local});
  const Told told = told_of(name);
  CHECK(told.durable == "true");
  for (const char* argument :
       {"{\"x-queue-type\",\"quorum\"}", "{\"x-overflow\",\"reject-publish\"}",
        "{\"x-dead-letter-exchange\",[]}", "{\"x-dead-letter-routing-key\",\"parked\"}",
        "{\"x-dead-letter-strategy\",\"at-least-once\"}", "{\"x-delivery-limit\",20}",
        "{\"x-quorum-initial-group-size\",1}", "{\"x-queue-leader-locator\",\"client-local\"}"}) {
    INFO(argument << " in " << told.arguments);
    CHECK(contains(told.arguments, argument));
  }
  fill(name, 2);
  const auto delivery = channel.get(name);
  REQUIRE(delivery.has_value());
  delivery->ack();
  CHECK(eventually([&] { return channel.declare_queue_passive(name).message_count() == 1; }));
  CHECK(queue.purge() == 1);
  queue.remove();
}

TEST_CASE_METHOD(Fixture,
                 "each typed option of a stream reaches the broker; it is published to and read again") {
  const std::string name = unique_name("stream");
  Queue queue = channel.declare_queue(name, {.type = QueueType::stream,
                                             .max_length_bytes = 20'000'000,
                                             .max_age = 3'600s,
                                             .max_segment_size_bytes = 1'000'000,
                                             .initial_group_size = 1,
                                             .leader_locator = warren::LeaderLocator::balanced});
  const Told told = told_of(name);
  for (const char* argument :
       {"{\"x-queue-type\",\"stream\"}", "{\"x-max-length-bytes\",20000000}", "{\"x-max-age\",\"3600s\"}",
        "{\"x-stream-max-segment-size-bytes\",1000000}", "{\"x-initial-cluster-size\",1}",
        "{\"x-queue-leader-locator\",\"balanced\"}"}) {
    INFO(argument << " in " << told.arguments);
    CHECK(contains(told.arguments, argument));
  }
  fill(name, 3);
  for (int reader = 0; reader < 2; ++reader) {
    std::atomic<int> read{0};
    warren::Consumer consumer{connection, name, {.arguments = {{"x-stream-offset", "first"}}}};
    consumer.start([&](const warren::Delivery&) { ++read; });
    CHECK(eventually([&] { return read == 3; }));
    consumer.stop();
  }
  queue.remove();
}

TEST_CASE_METHOD(Fixture, "basic.get of a stream is refused with 540, which ends the connection") {
  const std::string name = unique_name("stream");
  channel.declare_queue(name, {.type = QueueType::stream});
  const auto error = thrown<warren::ConnectionError>([&] { return channel.get(name); });
  CHECK(error.code() == 540);
  CHECK(contains(error.text(), "not supported by stream queues"));
  CHECK(error.permanent());
  CHECK_FALSE(channel.is_open());
  Connection another{shared_broker().endpoint(), test_options()};
  another.open_channel().declare_queue_passive(name).remove();
}

TEST_CASE_METHOD(Fixture,
                 "options that RabbitMQ could never take are InvalidArgument, and the channel stays open") {
  const auto refused = [&](const QueueOptions& options, const char* argument) {
    const auto error = thrown<warren::InvalidArgument>([&] { channel.declare_queue("never", options); });
    return contains(error.text(), argument);
  };
  CHECK(refused({.message_ttl = -1ms}, "x-message-ttl"));
  CHECK(refused({.message_ttl = 4'294'967'296ms}, "x-message-ttl"));
  CHECK(refused({.expires = 0ms}, "x-expires"));
  CHECK(refused({.max_length = -1}, "x-max-length"));
  CHECK(refused({.max_length_bytes = -1}, "x-max-length-bytes"));
  CHECK(refused({.delivery_limit = -2}, "x-delivery-limit"));
  CHECK(refused({.max_priority = std::uint8_t{0}}, "x-max-priority"));
  CHECK(refused({.type = QueueType::stream, .max_age = 0s}, "x-max-age"));
  CHECK_NOTHROW(channel.declare_queue("", {.exclusive = true, .message_ttl = 0ms, .max_length = 0}));
}

TEST_CASE_METHOD(Fixture, "a server-named queue has the name that the broker gave it, each another") {
  const Queue first = channel.declare_queue("", {.exclusive = true});
  const Queue second = channel.declare_queue("", {.exclusive = true});
  CHECK(contains(first.name(), "amq.gen-"));
  CHECK(first.name() != second.name());
  CHECK(channel.declare_queue_passive(first.name()).name() == first.name());
}

TEST_CASE_METHOD(Fixture,
                 "purge() deletes what is ready and says how many; remove() says how many went with it") {
  const std::string name = unique_name("purge");
  Queue queue = channel.declare_queue(name);
  CHECK(queue.purge() == 0);
  fill(name, 5);
  const auto held = channel.get(name);
  REQUIRE(held.has_value());
  CHECK(held->messages_left() == 4);
  CHECK(queue.purge() == 4);
  held->nack(warren::Requeue::yes);
  CHECK(eventually([&] { return channel.declare_queue_passive(name).message_count() == 1; }));
  CHECK(queue.remove() == 1);
  CHECK(queue.remove() == 0);  // a missing one is no error
  CHECK(thrown<ChannelError>([&] { channel.declare_queue_passive(name); }).code() == 404);
}

TEST_CASE_METHOD(Fixture, "remove() with if_empty leaves what has messages (406)") {
  const std::string name = unique_name("if-empty");
  Queue queue = channel.declare_queue(name);
  fill(name, 1);
  const auto error = thrown<ChannelError>([&] { queue.remove({.if_empty = true}); });
  CHECK(error.code() == 406);
  CHECK(error.scope() == warren::ErrorScope::channel);
  channel = connection.open_channel();
  queue = channel.declare_queue_passive(name);
  CHECK(queue.message_count() == 1);
  queue.purge();
  CHECK_NOTHROW(queue.remove({.if_unused = true, .if_empty = true}));
}

TEST_CASE_METHOD(Fixture,
                 "an exclusive queue goes with its connection, an auto-delete one with its last consumer") {
  const std::string exclusive = unique_name("exclusive");
  const std::string auto_delete = unique_name("auto-delete");
  {
    Connection owner{shared_broker().endpoint(), test_options()};
    Channel of_owner = owner.open_channel();
    of_owner.declare_queue(exclusive, {.exclusive = true});
    of_owner.declare_queue(auto_delete, {.auto_delete = true});
    warren::Consumer consumer{owner, auto_delete};
    consumer.start([](const warren::Delivery&) {});
    CHECK(channel.declare_queue_passive(auto_delete).consumer_count() == 1);
    consumer.stop();
  }
  const auto is_gone = [&](const std::string& name) {
    return eventually([&] {
      try {
        connection.open_channel().declare_queue_passive(name);
        return false;
      } catch (const ChannelError& error) {
        return error.code() == 404;
      }
    });
  };
  CHECK(is_gone(exclusive));
  CHECK(is_gone(auto_delete));
}

TEST_CASE_METHOD(Fixture, "what expires is dead-lettered as the options say") {
  const Queue parked = channel.declare_queue("", {.exclusive = true});
  const Queue queue = channel.declare_queue("", {.exclusive = true,
                                                 .message_ttl = 0ms,
                                                 .dead_letter_exchange = "",
                                                 .dead_letter_routing_key = parked.name()});
  fill(queue.name(), 1);
  std::optional<warren::Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(parked.name())).has_value(); }));
  CHECK(delivery->headers().contains("x-death"));
}

TEST_CASE(
    "a queue outlives the channel that declared it, be it a temporary, closed, or closed by the broker") {
  Connection connection{shared_broker().endpoint(), test_options()};
  const std::string name = unique_name("outlives");
  const auto closed_by_program = [&] {
    Channel channel = connection.open_channel();
    Queue queue = channel.declare_queue(name);
    channel.close();
    return queue;
  };
  const auto closed_by_broker = [&] {
    Channel channel = connection.open_channel();
    Queue queue = channel.declare_queue(name);
    CHECK(thrown<ChannelError>([&] { channel.declare_queue_passive(unique_name("none")); }).code() == 404);
    return queue;
  };
  warren::Publisher publisher{connection};
  for (Queue queue :
       {connection.open_channel().declare_queue(name), closed_by_program(), closed_by_broker()}) {
    queue.bind("amq.topic", name + ".#");
    publisher.publish(warren::Message("m"), {.exchange = "amq.topic", .routing_key = name + ".a"});
    queue.unbind("amq.topic", name + ".#");
    CHECK(queue.purge() == 1);
    CHECK(queue.name() == name);
  }
  CHECK(connection.open_channel().declare_queue_passive(name).remove() == 0);
  CHECK(thrown<ChannelError>([&] { connection.open_channel().declare_queue_passive(name); }).code() == 404);
}

TEST_CASE("an exclusive queue that the broker named works without its channel") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Queue queue = connection.open_channel().declare_queue("", {.exclusive = true});
  warren::Publisher publisher{connection, {.routing_key = queue.name()}};
  publisher.publish(warren::Message("m"));
  queue.bind("amq.fanout", "");
  CHECK(queue.purge() == 1);
  CHECK(queue.remove() == 0);
}

TEST_CASE("a queue and its copies open one channel for themselves, which is closed with the last of them") {
  auto options = test_options();
  options.channel_max = 2;
  Connection connection{shared_broker().endpoint(), options};
  const Channel held = connection.open_channel();
  const auto no_channel_is_free = [&] {
    return thrown<ChannelError>([&] { return connection.open_channel(); }).scope() == warren::ErrorScope::channel;
  };
  {
    Queue queue = connection.open_channel().declare_queue("", {.exclusive = true});
    std::vector<std::thread> threads;
    std::atomic<int> purged{0};
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, copy = queue]() mutable {
        for (int j = 0; j < 5; ++j) {
          copy.purge();
          ++purged;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(purged == 20);
    CHECK(no_channel_is_free());
    // The broker closes it over this one, and the next call has another one.
    CHECK(thrown<ChannelError>([&] { queue.bind(unique_name("none"), ""); }).code() == 404);
    CHECK(queue.purge() == 0);
    CHECK(no_channel_is_free());
  }
  CHECK(connection.open_channel().is_open());
}

TEST_CASE("without its connection a queue throws ConnectionError") {
  std::optional<Queue> queue;
  {
    Connection connection{shared_broker().endpoint(), test_options()};
    queue = connection.open_channel().declare_queue("", {.exclusive = true});
    CHECK(queue->purge() == 0);
  }
  CHECK_FALSE(thrown<warren::ConnectionError>([&] { queue->purge(); }).in_doubt());
  CHECK_FALSE(thrown<warren::ConnectionError>([&] { queue->remove(); }).in_doubt());
}
