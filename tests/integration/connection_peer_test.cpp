#include <warren/warren.hpp>

#include <future>
#include <mutex>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionError;
using Link = ScriptedPeer::Link;

namespace {

struct Attempt {
  ConnectionError error;
  std::chrono::milliseconds took;
};

// Connecting to a peer that plays this, which must fail.
Attempt connect_to_peer(ScriptedPeer::Script script, std::chrono::milliseconds timeout = 10s) {
  ScriptedPeer peer(std::move(script));
  warren::ConnectionOptions options = test_options();
  options.connect_timeout = timeout;
  std::optional<ConnectionError> error;
  const auto took = time_of([&] {
    error = thrown<ConnectionError>([&] { Connection{peer.endpoint(), options}; });
  });
  CHECK(contains(error->operation(), std::to_string(peer.endpoint().port)));
  CHECK_FALSE(error->text().empty());
  CHECK(error->scope() == warren::ErrorScope::connection);
  CHECK(peer.connections() == 1);
  return {*error, took};
}

std::string answer_to_nobody() {
  return method_frame(1, 0x0032000B, short_string("q") + number(0, 4) + number(0, 4));
}

std::string deliver(std::uint64_t tag) {
  return method_frame(
      1, method::basic_deliver,
      short_string("tag") + number(tag, 8) + number(0, 1) + short_string("") + short_string("q"));
}

std::string close_connection(std::uint16_t code, std::string_view text) {
  return method_frame(0, method::connection_close, number(code, 2) + short_string(text) + number(0, 4));
}

struct Nonsense {
  const char* what;
  std::string bytes;
};

}  // namespace

TEST_CASE("a peer that says nothing in the handshake: connect_timeout holds", "[peer]") {
  const auto attempt = connect_to_peer([](Link& link) { link.wait_for_end(); }, 500ms);
  CHECK(attempt.took >= 450ms);
  CHECK(attempt.took < 500ms + slack);
  CHECK_FALSE(attempt.error.permanent());
}

TEST_CASE("a peer that goes silent later in the handshake: connect_timeout holds", "[peer]") {
  SECTION("within a frame") {
    CHECK(connect_to_peer(
              [](Link& link) {
                link.send(start_frame("PLAIN").substr(0, 12));
                link.wait_for_end();
              },
              500ms)
              .took < 500ms + slack);
  }
  SECTION("after start") {
    CHECK(connect_to_peer(
              [](Link& link) {
                link.send(start_frame("PLAIN"));
                link.wait_for_end();
              },
              500ms)
              .took < 500ms + slack);
  }
  SECTION("with heartbeats only") {
    CHECK(connect_to_peer(
              [](Link& link) {
                link.send(start_frame("PLAIN"));
                for (;;) {
                  link.send(frame(8, 0, ""));
                  std::this_thread::sleep_for(20ms);
                }
              },
              500ms)
              .took < 500ms + slack);
  }
}

TEST_CASE("a peer that never stops talking behind its welcome: connect_timeout holds", "[peer]") {
  ScriptedPeer peer([](Link& link) {
    // Frames of 32 bytes: what fills a buffer of the client's ends within one.
    const std::string blocked =
        method_frame(0, method::connection_blocked, short_string(std::string(19, 'x')));
    const std::string begin = blocked.substr(0, 4);
    std::string chunk;
    while (chunk.size() < 65'536) chunk += blocked.substr(4) + begin;
    link.shake_hands_until_open();
    link.send(method_frame(0, method::connection_open_ok, short_string("")) + begin);
    for (;;) link.send(chunk);
  });
  warren::ConnectionOptions options = test_options();
  options.connect_timeout = 200ms;
  options.close_timeout = 100ms;
  const auto took = time_of([&] {
    try {
      Connection{peer.endpoint(), options};
    } catch (const ConnectionError&) {  // else it paused, by chance, between two frames
    }
  });
  CHECK(took < 200ms + slack);
}

TEST_CASE("a peer that closes in the handshake: a clear error at once", "[peer]") {
  SECTION("by an end, at once") {
    CHECK(connect_to_peer([](Link&) {}).took < 500ms + slack);
  }
  SECTION("by a reset, at once") {
    CHECK(connect_to_peer([](Link& link) { link.reset(); }).took < 500ms + slack);
  }
  SECTION("after start-ok") {
    CHECK(connect_to_peer([](Link& link) {
            link.send(start_frame("PLAIN"));
            link.receive(method::connection_start_ok);
          }).took < 500ms + slack);
  }
  SECTION("with a reason: its code and text") {
    const auto attempt = connect_to_peer([](Link& link) {
      link.send(start_frame("PLAIN"));
      link.receive(method::connection_start_ok);
      link.send(close_connection(403, "ACCESS_REFUSED - not you"));
      link.wait_for_end();
    });
    CHECK(attempt.took < 500ms + slack);
    CHECK(attempt.error.code() == 403);
    CHECK(attempt.error.permanent());
    CHECK(contains(attempt.error.text(), "not you"));
  }
}

TEST_CASE("a peer that speaks another protocol: a clear error at once", "[peer]") {
  const auto speaks = [](const std::string& bytes) {
    return connect_to_peer([&](Link& link) {
             link.send(bytes);
             link.wait_for_end();
           })
        .took;
  };
  SECTION("HTTP") { CHECK(speaks("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") < 500ms + slack); }
  SECTION("another version of AMQP") {
    CHECK(connect_to_peer([](Link& link) { link.send(std::string("AMQP\0\1\0\0", 8)); }).took <
          500ms + slack);
  }
  SECTION("zeros") { CHECK(speaks(std::string(64, '\0')) < 500ms + slack); }
  SECTION("a frame of 4 GiB") {
    CHECK(speaks(number(1, 1) + number(0, 2) + number(0xFFFFFFF0, 4) + "data") < 500ms + slack);
  }
  SECTION("a method that does not belong here") { CHECK(speaks(answer_to_nobody()) < 500ms + slack); }
}

TEST_CASE("a peer without our login mechanism: a permanent error", "[peer]") {
  const auto attempt = connect_to_peer([](Link& link) {
    link.send(start_frame("AMQPLAIN"));
    link.wait_for_end();
  });
  CHECK(attempt.took < 500ms + slack);
  CHECK(attempt.error.permanent());
}

TEST_CASE("a negotiated frame_max below 8192 is refused, permanently, with both numbers named", "[peer]") {
  const auto attempt = connect_to_peer([](Link& link) {
    link.shake_hands({.frame_max = 4'096});
    link.wait_for_end();
  });
  CHECK(attempt.took < 500ms + slack);
  CHECK(attempt.error.permanent());
  CHECK(contains(attempt.error.text(), "frame_max"));
  CHECK(contains(attempt.error.text(), "4096"));
  CHECK(contains(attempt.error.text(), "8192"));
}

TEST_CASE("a peer that shakes hands and speaks sense is served: the scripted peer itself is right",
          "[peer]") {
  ScriptedPeer peer([](Link& link) {
    link.shake_hands({.frame_max = 8'192});
    link.receive(method::channel_open);
    link.send(method_frame(1, 0x0014000B, long_string("")));
    link.receive(method::queue_declare);
    link.send(answer_to_nobody());
    link.receive(method::connection_close);
    link.send(method_frame(0, method::connection_close_ok));
    link.wait_for_end();
  });
  Connection connection{peer.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  CHECK(channel.declare_queue("q").name() == "q");
  CHECK(time_of([&] { connection.close(); }) < 500ms + slack);
}

TEST_CASE("a peer that talks nonsense after the handshake loses the connection, with a clear error",
          "[peer]") {
  const Nonsense nonsense = GENERATE(values<Nonsense>({
      {"no frame", "HTTP/1.1 400 Bad Request\r\n\r\n"},
      {"a frame without its end", number(8, 1) + number(0, 2) + long_string("") + "!"},
      {"a frame above frame_max",
       number(3, 1) + number(1, 2) + number(1 << 20, 4) + std::string(1 << 20, 'x')},
      {"an unknown type of frame", frame(7, 1, "")},
      {"an unknown method", method_frame(1, 0x00990099, "")},
      {"a method cut short", method_frame(1, 0x0032000B, "\x05q")},
      {"a method of two bytes", frame(1, 1, "xx")},
      {"a frame on a channel that is not open",
       method_frame(9, method::basic_ack, number(1, 8) + number(0, 1))},
      {"an answer that nobody asked for", answer_to_nobody()},
      {"a body without a message", frame(3, 1, "body")},
      {"a header without a message", header_frame(1, 4)},
      {"a body on channel 0", frame(3, 0, "body")},
      {"a method within a message", deliver(1) + answer_to_nobody()},
      {"more body than was announced", deliver(1) + header_frame(1, 3) + frame(3, 1, "four")},
      {"a delivery out of turn", deliver(7) + header_frame(1, 0)},
      {"a close-ok that nobody asked for", method_frame(1, method::channel_close_ok)},
      {"a connection.close-ok that nobody asked for", method_frame(0, method::connection_close_ok)},
  }));
  INFO(nonsense.what);
  ScriptedPeer peer([&](Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    link.send(method_frame(1, 0x0014000B, long_string("")));
    link.receive(method::basic_get);
    link.send(nonsense.bytes);
    link.wait_for_end();
  });
  std::mutex mutex;
  std::optional<warren::ErrorDetails> told;
  warren::ConnectionOptions options = test_options();
  options.operation_timeout = 10s;
  options.on_state = [&](const warren::StateEvent& event) {
    const std::lock_guard lock(mutex);
    if (event.error) told = event.error;
  };
  Connection connection{peer.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  std::optional<ConnectionError> error;
  CHECK(time_of([&] { error = thrown<ConnectionError>([&] { return channel.get("q"); }); }) < 500ms + slack);
  CHECK(error->in_doubt());
  CHECK_FALSE(error->text().empty());
  CHECK(eventually([&] { return connection.state() == warren::ConnectionState::failed; }));
  CHECK(eventually([&] {
    const std::lock_guard lock(mutex);
    return told && told->text == error->text();
  }));
  CHECK(time_of([&] { connection.close(); }) < slack);
}

TEST_CASE("a connection that the peer closes ends with the peer's code and text; close-ok is sent",
          "[peer]") {
  std::promise<bool> answered;
  ScriptedPeer peer([&](Link& link) {
    link.shake_hands();
    link.receive(method::channel_open);
    link.send(close_connection(320, "CONNECTION_FORCED - going down"));
    link.receive(method::connection_close_ok);
    answered.set_value(true);
    link.wait_for_end();
  });
  Connection connection{peer.endpoint(), test_options()};
  const auto error = thrown<ConnectionError>([&] { return connection.open_channel(); });
  CHECK(error.code() == 320);
  CHECK(error.text() == "CONNECTION_FORCED - going down");
  CHECK_FALSE(error.permanent());
  CHECK(answered.get_future().wait_for(slack) == std::future_status::ready);
}
