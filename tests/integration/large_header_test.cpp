#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"
#include "wire/frame.hpp"

using namespace support;
using warren::Connection;
using warren::Message;
using Link = ScriptedPeer::Link;

namespace {

constexpr std::uint32_t frame_max = 131'072;

// A header frame of so many bytes, with one header of that length.
std::string header_frame_of(std::size_t size) {
  const std::size_t text = size - 8 - 14 - 4 - 2 - 5;
  const std::string table = short_string("h") + "S" + long_string(std::string(text, 'x'));
  return frame(2, 1, number(60, 2) + number(0, 2) + number(4, 8) + number(1U << 13U, 2) + long_string(table));
}

std::string deliver_get_ok() {
  return method_frame(1, method::basic_get_ok,
                      number(1, 8) + number(0, 1) + short_string("") + short_string("q") + number(0, 4));
}

// Answers a basic.get with these frames.
ScriptedPeer::Script getting(std::string frames) {
  return [frames = std::move(frames)](Link& link) {
    link.shake_hands({.frame_max = frame_max});
    link.receive(method::channel_open);
    link.send(method_frame(1, method::channel_open_ok, long_string("")));
    for (;;) {
      link.receive(method::basic_get);
      link.send(frames);
    }
  };
}

warren::ConnectionOptions impatient() {
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 100ms;
  return options;
}

}  // namespace

TEST_CASE("a message whose header the broker made larger than frame_max, by dead-lettering it, is received",
          "[large_header]") {
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  const std::string target = unique_name("large-header");
  channel.declare_queue(target, {.durable = false, .exclusive = true});
  const std::string source = unique_name("large-header-source");
  channel.declare_queue(source, {.durable = false,
                                 .exclusive = true,
                                 .message_ttl = 0ms,
                                 .dead_letter_exchange = "",
                                 .dead_letter_routing_key = target});
  // As much as our own frame takes: the broker's x-death comes on top.
  Message message("body");
  message.properties().headers.set("h", std::string(frame_max - 8 - 14 - 4 - 2 - 5 - 1, 'x'));
  channel.publish("", source, message);
  std::optional<warren::Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel.get(target)).has_value(); }));
  CHECK(delivery->body() == "body");
  CHECK(*delivery->properties().headers.find("h") == *message.properties().headers.find("h"));
  CHECK(delivery->properties().headers.contains("x-death"));
  delivery->ack();
  // And what comes behind it.
  channel.publish("", target, Message("next"));
  REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(target)).has_value(); }));
  CHECK(delivery->body() == "next");
  CHECK(connection.is_open());
}

TEST_CASE("a parking lot gets past a message whose header is larger than frame_max, and replays it",
          "[large_header]") {
  Connection connection{shared_broker().endpoint(), test_options()};
  TestQueue parked;
  TestQueue source({.dead_letter_exchange = "", .dead_letter_routing_key = parked.name()});
  warren::Channel channel = connection.open_channel();
  Message large("large");
  large.properties().headers.set("h", std::string(frame_max - 8 - 14 - 4 - 2 - 5 - 1, 'x'));
  for (const Message& message : {large, Message("small")}) channel.publish("", source.name(), message);
  for (std::uint32_t count = 1; count <= 2; ++count) {
    REQUIRE(eventually([&] {
      const auto got = channel.get(source.name());
      if (got) got->reject(warren::Requeue::no);
      return got.has_value();
    }));
    REQUIRE(parked.holds(count));
  }
  warren::ParkingLot lot(connection, parked.name(), {.allowed_queues = {source.name()}});
  CHECK(lot.inspect([](const warren::ParkedMessage&) {}).selected == 2);
  CHECK(parked.holds(2));
  const warren::ParkedResult result = lot.replay();
  CHECK(result.done == 2);
  CHECK(result.failures.empty());
  CHECK(parked.holds(0));
  const warren::Delivery again = source.take();
  CHECK(again.body() == "large");
  CHECK(*again.headers().find("h") == *large.properties().headers.find("h"));
  CHECK(source.take().body() == "small");
  CHECK(connection.is_open());
}

TEST_CASE("a header frame is accepted up to 1 MiB above frame_max, and no further", "[large_header]") {
  constexpr std::size_t largest = frame_max + (std::size_t{1} << 20U);
  SECTION("the largest") {
    ScriptedPeer peer(getting(deliver_get_ok() + header_frame_of(largest) + frame(3, 1, "body")));
    Connection connection{peer.endpoint(), impatient()};
    warren::Channel channel = connection.open_channel();
    const auto delivery = channel.get_no_ack("q");
    REQUIRE(delivery.has_value());
    CHECK(delivery->body() == "body");
    CHECK(delivery->properties().headers.find("h")->as_string()->size() > (std::size_t{1} << 20U));
    CHECK(connection.is_open());
  }
  SECTION("a byte more") {
    ScriptedPeer peer(getting(deliver_get_ok() + header_frame_of(largest + 1) + frame(3, 1, "body")));
    Connection connection{peer.endpoint(), impatient()};
    warren::Channel channel = connection.open_channel();
    CHECK(contains(thrown<warren::ConnectionError>([&] { return channel.get_no_ack("q"); }).text(),
                   "above the negotiated maximum"));
  }
  SECTION("a body frame and a method frame have frame_max as their bound") {
    const std::string large(frame_max, 'x');
    const std::string frames =
        GENERATE_COPY(deliver_get_ok() + header_frame(1, frame_max) + frame(3, 1, large), frame(1, 1, large));
    ScriptedPeer peer(getting(frames));
    Connection connection{peer.endpoint(), impatient()};
    warren::Channel channel = connection.open_channel();
    CHECK(contains(thrown<warren::ConnectionError>([&] { return channel.get_no_ack("q"); }).text(),
                   "above the negotiated maximum"));
  }
}
