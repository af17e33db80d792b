// A publish that the broker closes the whole connection for, again and again.
#include <warren/warren.hpp>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace faults;
using warren::Confirmation;
using warren::Connection;
using warren::ConnectionError;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;

namespace {

// A broker that closes its connection over each message with the routing key "poison", and confirms the
// others.
class Poisoned {
 public:
  explicit Poisoned(std::uint16_t code, std::string text)
      : code_(code), text_(std::move(text)), peer([this](ScriptedPeer::Link& link) { serve(link); }) {}

  [[nodiscard]] std::size_t closes() const { return closes_; }

 private:
  void serve(ScriptedPeer::Link& link) {
    link.shake_hands();
    std::map<std::uint16_t, std::uint64_t> numbers;
    std::map<std::uint16_t, std::string> keys;  // of the latest publish
    for (;;) {
      const Frame frame = link.receive();
      const std::uint16_t channel = frame.channel;
      if (frame.type == 3) {
        const std::uint64_t tag = ++numbers[channel];
        if (keys[channel] == "poison") {
          ++closes_;
          link.send(method_frame(0, method::connection_close,
                                 number(code_, 2) + short_string(text_) + number(0, 2) + number(0, 2)));
          link.wait_for_end();
          return;
        }
        link.send(method_frame(channel, method::basic_ack, number(tag, 8) + number(0, 1)));
        continue;
      }
      switch (frame.method) {
        case method::channel_open:
          numbers[channel] = 0;
          link.send(method_frame(channel, 0x0014000B, number(0, 4)));
          break;
        case method::basic_publish:
          keys[channel] = frame.routing_key;
          break;
        case method::confirm_select:
          link.send(method_frame(channel, method::confirm_select_ok));
          break;
        case method::channel_close:
          link.send(method_frame(channel, method::channel_close_ok));
          break;
        case method::connection_close:
          link.send(method_frame(0, 0x000A0033));
          return;
        default:
          break;
      }
    }
  }

  const std::uint16_t code_;
  const std::string text_;
  std::atomic<std::size_t> closes_{0};

 public:
  ScriptedPeer peer;
};

void check_given_up(Confirmation& poison, std::uint16_t code, std::string_view text) {
  const auto error = thrown<ConnectionError>([&] { poison.wait(); });
  CHECK(error.code() == code);
  CHECK(contains(error.text(), text));
  CHECK(error.permanent());
  CHECK(poison.outcome() == PublishOutcome::refused);
}

}  // namespace

TEST_CASE(
    "a publish that the broker closes the connection for is given up with its words, alone or among others",
    "[faults][publisher]") {
  const auto [code, text] = GENERATE(std::pair<std::uint16_t, const char*>{541, "INTERNAL_ERROR"},
                                     std::pair<std::uint16_t, const char*>{501, "FRAME_ERROR - what is this"},
                                     std::pair<std::uint16_t, const char*>{540, "NOT_IMPLEMENTED"});
  const int others = GENERATE(0, 1, 200);
  Poisoned broker(code, text);
  Watch watch;
  Connection connection{broker.peer.endpoint(), watch.options()};
  Publisher publisher{connection, {.routing_key = "q", .window = 1'000, .timeout = 120s}};
  std::vector<Confirmation> good;
  const auto publish = [&](int first) {
    for (int i = 0; i < others; ++i) {
      good.push_back(publisher.publish_async(Message(std::to_string(first + i))));
    }
  };
  publish(0);
  Confirmation poison = publisher.publish_async(Message("m"), {.routing_key = "poison"});
  publish(others);
  check_given_up(poison, code, text);
  for (Confirmation& each : good) CHECK_NOTHROW(each.wait());
  CHECK(broker.closes() <= 5);
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.publish(Message("after")));
}

TEST_CASE("other publishers of a connection are not blamed for the one whose publish closes it",
          "[faults][publisher]") {
  Poisoned broker(541, "INTERNAL_ERROR");
  Watch watch;
  Connection connection{broker.peer.endpoint(), watch.options()};
  std::atomic<int> failed{0};
  std::atomic<int> done{0};
  std::atomic<bool> stop{false};
  std::vector<std::jthread> crowd;
  for (int i = 0; i < 4; ++i) {
    crowd.emplace_back([&, i] {
      Publisher own{connection, {.routing_key = "q", .timeout = 120s}};
      for (int n = 0; !stop; ++n) {
        try {
          own.publish(Message(std::to_string(i) + "." + std::to_string(n)));
          ++done;
        } catch (const std::exception&) {
          ++failed;
        }
      }
    });
  }
  Publisher publisher{connection, {.routing_key = "q", .timeout = 120s}};
  for (int i = 0; i < 3; ++i) {
    Confirmation poison = publisher.publish_async(Message("m"), {.routing_key = "poison"});
    check_given_up(poison, 541, "INTERNAL_ERROR");
    const int before = done;
    CHECK(eventually([&] { return done > before + 4; }, 60s));
  }
  stop = true;
  crowd.clear();
  CHECK(failed == 0);
}

TEST_CASE("however often the link is lost, no publish is given up for it", "[faults][publisher]") {
  // Each connection ends over the message: without a word, or with 320.
  const bool says_320 = GENERATE(true, false);
  std::atomic<int> left{12};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    const std::uint16_t channel = link.receive(method::channel_open).channel;
    link.send(method_frame(channel, 0x0014000B, number(0, 4)));
    link.receive(method::confirm_select);
    link.send(method_frame(channel, method::confirm_select_ok));
    link.receive(method::basic_publish);
    if (left-- > 0) {
      if (!says_320) return link.reset();
      link.send(
          method_frame(0, method::connection_close,
                       number(320, 2) + short_string("CONNECTION_FORCED") + number(0, 2) + number(0, 2)));
      return link.wait_for_end();
    }
    link.send(method_frame(channel, method::basic_ack, number(1, 8) + number(0, 1)));
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.close_timeout = 100ms;  // the peer answers no close
  options.recovery.max_delay = 20ms;
  Connection connection{peer.endpoint(), options};
  Publisher publisher{connection, {.routing_key = "q", .timeout = 120s}};
  CHECK_NOTHROW(publisher.publish(Message("m")));
  CHECK(peer.connections() == 13);
}
