#include <warren/warren.hpp>

#include <atomic>
#include <fstream>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

// Brokers that log in like any other, and then break the protocol: the connection ends with an error that
// says so, recovers, and nothing crashes or grows.

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionState;
using Link = ScriptedPeer::Link;

namespace {

std::string delivery(std::uint16_t channel, std::uint64_t tag) {
  return method_frame(
             channel, method::basic_deliver,
             short_string("t") + number(tag, 8) + number(0, 1) + short_string("") + short_string("q")) +
         header_frame(channel, 0);
}

std::string open_ok(std::uint16_t channel) {
  return method_frame(channel, method::channel_open_ok, long_string(""));
}

std::string channel_close(std::uint16_t channel, std::uint16_t code) {
  return method_frame(channel, method::channel_close, number(code, 2) + short_string("no") + number(0, 4));
}

std::string ack(std::uint16_t channel, std::uint64_t tag) {
  return method_frame(channel, method::basic_ack, number(tag, 8) + number(0, 1));
}

// As a broker answers; publishes are confirmed by their number.
class Server {
 public:
  explicit Server(Link& link) : link_(link) {}

  void answer(const Frame& frame) {
    const auto say = [&](std::uint32_t id, std::string_view arguments = {}) {
      link_.send(method_frame(frame.channel, id, arguments));
    };
    switch (frame.method) {
      case method::channel_open:
        return link_.send(open_ok(frame.channel));
      case method::channel_close:
        return say(method::channel_close_ok);
      case method::basic_consume:
        return say(method::basic_consume_ok, short_string("t"));
      case method::basic_cancel:
        return say(method::basic_cancel_ok, short_string("t"));
      case method::queue_declare:
        return say(method::queue_declare_ok, short_string("q") + number(0, 8));
      case method::basic_publish:
        return link_.send(ack(frame.channel, ++published_));
      case method::connection_close:
        return say(method::connection_close_ok);
      case method::basic_qos:
        return say(method::basic_qos_ok);
      case method::confirm_select:
        return say(method::confirm_select_ok);
      default:
        return;
    }
  }
  // Answers everything up to a method, which is returned.
  Frame serve_until(std::uint32_t method) {
    for (;;) {
      Frame frame = link_.receive();
      if (frame.method == method) return frame;
      answer(frame);
    }
  }
  [[noreturn]] void serve() {
    for (;;) answer(link_.receive());
  }

 private:
  Link& link_;
  std::uint64_t published_ = 0;
};

// Its first `evil` connections are in a script's hands once they are logged in; those behind them are served.
class Hostile {
 public:
  using Script = std::function<void(Link&, Server&)>;
  explicit Hostile(Script script, int evil = 1)
      : script_(std::move(script)), evil_(evil), peer_([this](Link& link) {
          link.shake_hands();
          Server server(link);
          if (evil_-- > 0) {
            script_(link, server);
            link.wait_for_end();
          }
          server.serve();
        }) {}

  [[nodiscard]] warren::Endpoint endpoint() const { return peer_.endpoint(); }

 private:
  const Script script_;
  std::atomic<int> evil_;
  ScriptedPeer peer_;
};

warren::ConnectionOptions quick(Watch& watch) {
  warren::ConnectionOptions options = watch.options();
  options.recovery.initial_delay = 10ms;
  options.heartbeat = 0s;
  return options;
}

// It was lost for a breach of the protocol, and is open again.
void check_recovers(const Watch& watch, const char* because) {
  CHECK(watch.opened(2));
  INFO(watch.log());
  CHECK(contains(watch.loss().text, "the broker broke the protocol"));
  CHECK(contains(watch.loss().text, because));
  CHECK(watch.count(ConnectionState::failed) == 0);
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  file >> all >> resident;
  return resident * 4'096;
}

struct Breach {
  const char* what;
  std::string frames;  // on channel 1
};

std::vector<Breach> early_frames() {
  return {{"a delivery", delivery(1, 1)},
          {"a cancellation", method_frame(1, method::basic_cancel, short_string("t") + number(1, 1))},
          {"a confirm", ack(1, 1)},
          {"a returned message",
           method_frame(1, method::basic_return,
                        number(312, 2) + short_string("no") + short_string("") + short_string("q")) +
               header_frame(1, 0)},
          {"a message that was got",
           method_frame(1, method::basic_get_ok,
                        number(1, 8) + number(0, 1) + short_string("") + short_string("q") + number(0, 4)) +
               header_frame(1, 0)},
          {"a header", header_frame(1, 0)},
          {"an answer", method_frame(1, method::basic_consume_ok, short_string("t"))}};
}

}  // namespace

TEST_CASE(
    "before channel.open-ok nothing reaches a consumer's channel: the connection is lost, and recovers") {
  for (const Breach& breach : early_frames()) {
    INFO(breach.what);
    Hostile peer([&](Link& link, Server& server) {
      server.serve_until(method::channel_open);
      link.send(breach.frames);
    });
    Watch watch;
    Connection connection{peer.endpoint(), quick(watch)};
    warren::Consumer consumer{connection, "q", {.prefetch = 4}};
    const auto error = thrown<ConnectionError>([&] { consumer.start([](const warren::Delivery&) {}); });
    CHECK_FALSE(error.permanent());
    check_recovers(watch, "not open yet");
    CHECK_NOTHROW(consumer.start([](const warren::Delivery&) {}));
  }
}

TEST_CASE("before basic.consume-ok no delivery and no cancellation reaches a consumer") {
  for (const Breach& breach : early_frames()) {
    INFO(breach.what);
    if (breach.frames == early_frames().back().frames) continue;  // that is the answer which is awaited
    Hostile peer([&](Link& link, Server& server) {
      server.serve_until(method::basic_consume);
      link.send(breach.frames);
    });
    Watch watch;
    Connection connection{peer.endpoint(), quick(watch)};
    warren::Consumer consumer{connection, "q", {.prefetch = 4}};
    CHECK_THROWS_AS(consumer.start([](const warren::Delivery&) {}), ConnectionError);
    check_recovers(watch, "");
    CHECK_NOTHROW(consumer.start([](const warren::Delivery&) {}));
  }
}

TEST_CASE(
    "deliveries, confirms and returns on a channel without a consumer or a publisher break the protocol") {
  for (const Breach& breach : early_frames()) {
    INFO(breach.what);
    Hostile peer([&](Link& link, Server& server) {
      server.answer(server.serve_until(method::channel_open));
      link.send(breach.frames);
    });
    Watch watch;
    Connection connection{peer.endpoint(), quick(watch)};
    const warren::Channel channel = connection.open_channel();
    check_recovers(watch, "");
  }
}

TEST_CASE("deliveries far beyond the prefetch break the protocol, and those before are all that is held") {
  constexpr std::size_t most = 100;
  std::atomic<std::uint64_t> sent{0};
  Hostile peer([&](Link& link, Server& server) {
    server.answer(server.serve_until(method::basic_consume));
    for (;;) link.send(delivery(1, ++sent));
  });
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  std::atomic<std::size_t> handled{0};
  std::atomic<bool> go_on{false};
  warren::Consumer consumer{connection, "q", {.prefetch = 4}};
  std::size_t waiting = 0;
  consumer.start([&](const warren::Delivery&) {
    ++handled;
    while (!go_on) std::this_thread::sleep_for(1ms);
  });
  CHECK(eventually([&] {
    waiting = std::max(waiting, consumer.status().waiting);
    return watch.count(ConnectionState::waiting) > 0;
  }));
  check_recovers(watch, "deliveries are unsettled");
  CHECK(waiting <= most);
  CHECK(sent > most);
  CHECK(handled <= 1);  // the loss may come before the worker
  go_on = true;
  CHECK(eventually([&] { return consumer.status().subscribed; }));
}

TEST_CASE("a broker may deliver a prefetch for each acknowledgement that it reads, and after a pause") {
  constexpr std::uint64_t rounds = 500;
  std::atomic<std::uint64_t> settled{0};
  ScriptedPeer peer([&](Link& link) {
    link.shake_hands();
    Server server(link);
    server.answer(server.serve_until(method::basic_consume));
    std::uint64_t sent = 0;
    for (; sent < 4; ++sent) link.send(delivery(1, sent + 1));
    while (settled < rounds) {
      const Frame frame = server.serve_until(method::basic_ack);
      for (settled = frame.delivery_tag; sent < settled + 4; ++sent) link.send(delivery(1, sent + 1));
    }
    server.serve();
  });
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  warren::Consumer consumer{connection, "q", {.prefetch = 4}};
  consumer.start([](const warren::Delivery&) {});
  CHECK(eventually([&] { return settled >= rounds; }));
  INFO(watch.log());
  CHECK(connection.is_open());
  CHECK(watch.count(ConnectionState::waiting) == 0);
}

TEST_CASE(
    "a second channel.close for one channel breaks the protocol, rather than being answered each time") {
  Hostile peer([](Link& link, Server& server) {
    server.serve_until(method::channel_close);
    std::string flood;
    for (int i = 0; i < 1'000; ++i) flood += channel_close(1, 404);
    link.send(flood);
  });
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  { const warren::Channel closing = connection.open_channel(); }
  check_recovers(watch, "channel.close");
}

TEST_CASE("a channel that a publisher opens again can't be closed before its channel.open was sent") {
  Hostile peer([](Link& link, Server& server) {
    server.serve_until(method::basic_publish);
    std::string flood;
    for (int i = 0; i < 1'000; ++i) flood += channel_close(1, 404) + open_ok(1);
    link.send(flood);
  });
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  warren::Publisher publisher{connection, {.routing_key = "q"}};
  const auto confirmation = publisher.publish_async(warren::Message{"x"});
  check_recovers(watch, "a channel.open that was not sent");
  CHECK(watch.count(ConnectionState::open) == 2);
}

TEST_CASE("a broker that causes answers and reads none of them breaks the protocol") {
  std::atomic<std::uint64_t> sent{0};
  Hostile peer([&](Link& link, Server& server) {
    server.serve_until(method::basic_cancel);
    // Each is given back (basic.nack), as the consumer has ended.
    for (;;) link.send(delivery(1, ++sent));
  });
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  warren::Consumer consumer{connection, "q", {.prefetch = 6'000}};
  consumer.start([](const warren::Delivery&) {});
  REQUIRE(eventually([&] { return consumer.status().subscribed; }));
  consumer.request_stop();
  check_recovers(watch, "does not read them");
  INFO(sent << " deliveries");
}

TEST_CASE(
    "a connection that the broker closes with 403, 402 or 530 logs in again: the login tells what is so") {
  const auto code = GENERATE(std::uint16_t{403}, std::uint16_t{402}, std::uint16_t{530});
  Hostile peer(
      [code](Link& link, Server& server) {
        server.serve_until(method::queue_declare);
        link.send(
            method_frame(0, method::connection_close, number(code, 2) + short_string("no") + number(0, 4)));
      },
      2);
  Watch watch;
  Connection connection{peer.endpoint(), quick(watch)};
  CHECK_THROWS_AS(connection.open_channel().declare_queue("q"), warren::Error);
  REQUIRE(watch.opened(2));
  CHECK_THROWS_AS(connection.open_channel().declare_queue("q"), warren::Error);
  CHECK(watch.opened(3));
  CHECK_NOTHROW(connection.open_channel().declare_queue("q"));
  INFO(watch.log());
  CHECK(watch.count(ConnectionState::failed) == 0);
}

TEST_CASE("a large frame_max costs no memory before a frame comes that needs it") {
  constexpr std::uint32_t frame_max = 128U << 20U;
  ScriptedPeer peer([](Link& link) {
    link.shake_hands({.frame_max = frame_max});
    Server(link).serve();
  });
  warren::ConnectionOptions options = test_options();
  options.frame_max = frame_max;
  const std::size_t before = resident_bytes();
  Connection connection{peer.endpoint(), options};
  const warren::Channel channel = connection.open_channel();
  CHECK(resident_bytes() < before + (std::size_t{48} << 20U));
}
