#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::Connection;
using warren::Message;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

// Equality without a printout of megabytes.
bool same(std::string_view left, std::string_view right) { return left == right; }

}  // namespace

TEST_CASE("bodies of 0 bytes, 1 byte and around whole frames come back byte for byte") {
  warren::ConnectionOptions options = test_options();
  options.frame_max = GENERATE(8'192U, 131'072U);
  CAPTURE(options.frame_max);
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), options};
  Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue}};
  const std::size_t frame = options.frame_max - 8;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, frame - 1, frame, frame + 1, frame + 8,
                                 2 * frame - 1, 2 * frame, 2 * frame + 1, 10 * frame, mebibyte}) {
    CAPTURE(size);
    const std::string body = body_of(size, size);
    proxy.forget_frames();
    publisher.publish(Message(body));
    // As few frames as can be, each within frame_max: the broker would let eight bytes more pass.
    const auto is_body = [](const Frame& each) {
      return each.type == 3 && each.direction == Direction::to_broker;
    };
    CHECK(proxy.count(is_body) == (size + frame - 1) / frame);
    CHECK(proxy.count([&](const Frame& each) { return is_body(each) && each.size > frame; }) == 0);
    auto delivery = channel.get(queue);
    REQUIRE(delivery.has_value());
    CHECK(same(delivery->body(), body));
    delivery->ack();
    // Unconfirmed, too.
    channel.publish("", queue, Message(body));
    REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(queue)).has_value(); }));
    CHECK(same(delivery->body(), body));
  }
}

TEST_CASE("a body of 64 MiB comes back byte for byte, by get and by a consumer") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue, .timeout = 120s}};
  const Message message(body_of(64 * mebibyte, 64));

  SECTION("by get") {
    publisher.publish(message);
    const auto delivery = channel.get(queue);
    REQUIRE(delivery.has_value());
    CHECK(same(delivery->body(), message.body()));
    delivery->ack();
  }
  SECTION("by a consumer, small ones beside it") {
    std::atomic<int> right{0};
    warren::Consumer consumer{connection, queue, {.prefetch = 3}};
    consumer.start([&](const warren::Delivery& delivery) {
      if (same(delivery.body(), "small") || same(delivery.body(), message.body())) ++right;
    });
    publisher.publish(Message("small"));
    publisher.publish(message);
    publisher.publish(Message("small"));
    CHECK(eventually([&] { return right == 3; }, 60s));
    CHECK(eventually([&] { return consumer.status().acked == 3; }));
    consumer.stop();
  }
}

TEST_CASE("many threads' large bodies on one channel don't interleave") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue}};
  std::atomic<int> failed{0};
  {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < 8; ++thread) {
      threads.emplace_back([&, thread] {
        try {
          for (int i = 0; i < 4; ++i) publisher.publish(Message(body_of(mebibyte + thread, thread)));
        } catch (const warren::Error&) {
          ++failed;
        }
      });
    }
  }
  CHECK(failed == 0);
  for (int i = 0; i < 32; ++i) {
    const auto delivery = channel.get_no_ack(queue);
    REQUIRE(delivery.has_value());
    CHECK(same(delivery->body(), body_of(delivery->body().size(), delivery->body().size() - mebibyte)));
  }
}

TEST_CASE("a 17 MiB body at a broker that takes 16 MiB is a clear ChannelError; the publisher works on") {
  PrivateBroker broker("max_message_size = 16777216");
  Connection connection{broker.endpoint(), test_options()};
  Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue, .timeout = 60s}};
  const Message too_large(std::string(17 * mebibyte, 'x'));

  const auto error = thrown<warren::ChannelError>([&] { publisher.publish(too_large); });
  CHECK(error.code() == 406);
  CHECK(contains(error.text(), "larger than"));
  CHECK(error.permanent());
  CHECK_FALSE(error.in_doubt());
  CHECK_NOTHROW(publisher.publish(Message("small")));

  auto later = publisher.publish_async(too_large);
  CHECK(thrown<warren::ChannelError>([&] { later.wait(); }).code() == 406);
  CHECK(later.outcome() == warren::PublishOutcome::refused);
  CHECK_NOTHROW(publisher.publish(Message(std::string(16 * mebibyte, 'x'))));  // just what it takes
  CHECK(channel.declare_queue_passive(queue).message_count() == 2);

  // Unconfirmed: the channel learns it with its next call.
  channel.publish("", queue, too_large);
  CHECK(thrown<warren::ChannelError>([&] { channel.declare_queue_passive(queue); }).code() == 406);
  CHECK(connection.is_open());
}
