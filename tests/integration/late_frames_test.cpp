#include <warren/warren.hpp>

#include <future>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using Link = ScriptedPeer::Link;

namespace {

std::string open_ok(std::uint16_t channel) {
  return method_frame(channel, method::channel_open_ok, long_string(""));
}
std::string declare_ok(std::uint16_t channel) {
  return method_frame(channel, method::queue_declare_ok, short_string("q") + number(0, 4) + number(0, 4));
}
std::string not_found(std::uint16_t channel) {
  return method_frame(
      channel, method::channel_close,
      number(404, 2) + short_string("NOT_FOUND - no queue 'q' in vhost '/'") + number(0x00320000AU, 4));
}
std::string deliver(std::uint64_t tag) {
  return method_frame(
      1, method::basic_deliver,
      short_string("tag") + number(tag, 8) + number(0, 1) + short_string("") + short_string("q"));
}
std::string get_ok(std::uint64_t tag) {
  return method_frame(1, method::basic_get_ok,
                      number(tag, 8) + number(0, 1) + short_string("") + short_string("q") + number(0, 4));
}
std::string message(std::string_view head) {
  return std::string(head) + header_frame(1, 4) + frame(3, 1, "body");
}

// What a broker may still have had on its way for channel 1 when it closed it.
std::string late_frames() {
  const std::string returned =
      method_frame(1, method::basic_return,
                   number(312, 2) + short_string("NO_ROUTE") + short_string("") + short_string("q"));
  return message(deliver(7)) + message(get_ok(8)) + message(returned) +
         method_frame(1, method::basic_ack, number(3, 8) + number(0, 1)) +
         method_frame(1, method::basic_nack, number(4, 8) + number(0, 1)) +
         method_frame(1, 0x003C001E, short_string("tag") + number(1, 1)) + declare_ok(1);
}

// A channel that the broker closes, and its number used again.
void check_survives(ScriptedPeer& peer) {
  Connection connection{peer.endpoint(), test_options()};
  warren::Channel first = connection.open_channel();
  CHECK(thrown<warren::ChannelError>([&] { return first.get("q"); }).code() == 404);
  warren::Channel second = connection.open_channel();
  CHECK(second.number() == first.number());
  CHECK(second.declare_queue("q").name() == "q");
  CHECK(second.get("q").value().body() == "body");
  CHECK(connection.is_open());
}

void open_and_refuse(Link& link, const std::string& before_close, const std::string& behind_close) {
  link.shake_hands();
  link.receive(method::channel_open);
  link.send(open_ok(1));
  link.receive(method::basic_get);
  link.send(before_close + not_found(1) + behind_close);
  link.receive(method::channel_close_ok);
}

void serve_second(Link& link, const std::string& before_open) {
  link.receive(method::channel_open);
  link.send(before_open + open_ok(1));
  link.receive(method::queue_declare);
  link.send(declare_ok(1));
  link.receive(method::basic_get);
  link.send(message(get_ok(1)));
  link.receive(method::connection_close);
  link.send(method_frame(0, method::connection_close_ok));
  link.wait_for_end();
}

}  // namespace

TEST_CASE("what the broker had on its way behind its own channel.close costs nothing", "[late]") {
  ScriptedPeer peer([](Link& link) {
    open_and_refuse(link, "", late_frames());
    serve_second(link, "");
  });
  check_survives(peer);
}

TEST_CASE("what comes for the channel before, up to the open-ok of the next one, is not that one's",
          "[late]") {
  ScriptedPeer peer([](Link& link) {
    open_and_refuse(link, "", "");
    link.send(late_frames());  // no channel has the number
    serve_second(link, late_frames());
  });
  check_survives(peer);
}

TEST_CASE("a message that the broker's channel.close came into the middle of is dropped", "[late]") {
  SECTION("after its method") {
    ScriptedPeer peer([](Link& link) {
      open_and_refuse(link, get_ok(1), header_frame(1, 4) + frame(3, 1, "body"));
      serve_second(link, "");
    });
    check_survives(peer);
  }
  SECTION("after its header, with the rest behind the next channel.open") {
    ScriptedPeer peer([](Link& link) {
      open_and_refuse(link, get_ok(1) + header_frame(1, 4), frame(3, 1, "bo"));
      serve_second(link, frame(3, 1, "dy"));
    });
    check_survives(peer);
  }
}

TEST_CASE("what the broker had on its way when both sides closed a channel at once costs nothing", "[late]") {
  std::promise<void> asked;
  ScriptedPeer peer([&](Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    link.send(open_ok(1));
    link.receive(method::basic_get);
    asked.set_value();
    link.receive(method::channel_close);  // of the client's; ours crosses it
    link.send(get_ok(1) + not_found(1) + header_frame(1, 4) + late_frames());
    link.receive(method::channel_close_ok);
    link.send(late_frames() + method_frame(1, method::channel_close_ok) + late_frames());
    serve_second(link, late_frames());
  });
  Connection connection{peer.endpoint(), test_options()};
  warren::Channel first = connection.open_channel();
  auto got = std::async(std::launch::async, [&] { return first.get("q"); });
  asked.get_future().wait();
  first.close();
  CHECK_THROWS_AS(got.get(), warren::ChannelError);
  warren::Channel second = connection.open_channel();
  CHECK(second.number() == 1);
  CHECK(second.declare_queue("q").name() == "q");
  CHECK(second.get("q").value().body() == "body");
}

TEST_CASE("a channel number that the broker never closed has no late frames: the protocol is broken",
          "[late]") {
  ScriptedPeer peer([&](Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    link.send(open_ok(1));
    link.receive(method::queue_declare);
    link.send(method_frame(9, method::basic_ack, number(1, 8) + number(0, 1)));
    link.wait_for_end();
  });
  Connection connection{peer.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  CHECK(contains(thrown<warren::ConnectionError>([&] { return channel.declare_queue("q"); }).text(),
                 "broke the protocol"));
}
