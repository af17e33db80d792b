#include <warren/warren.hpp>

#include <atomic>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

// Peers that mean harm, or are none, while a client logs in.

using namespace support;
using namespace faults;
using warren::Connection;
using warren::ConnectionError;
using warren::ConnectionState;
using Link = ScriptedPeer::Link;

namespace {

// A heartbeat every few milliseconds, without end.
[[noreturn]] void beat(Link& link) {
  for (;;) {
    link.send(frame(8, 0, ""));
    std::this_thread::sleep_for(2ms);
  }
}

// The first connection is logged in and cut as soon as a channel is asked for; the others never get that far.
class CutThenBeating {
 public:
  CutThenBeating()
      : peer_([this](Link& link) {
          if (logins_++ == 0) {
            link.shake_hands();
            link.receive(method::channel_open);
            return;
          }
          link.send(start_frame());
          link.receive(method::connection_start_ok);
          beat(link);
        }) {}

  [[nodiscard]] warren::Endpoint endpoint() const { return peer_.endpoint(); }
  [[nodiscard]] int logins() const { return logins_; }

 private:
  std::atomic<int> logins_{0};
  ScriptedPeer peer_;
};

}  // namespace

TEST_CASE("heartbeats for ever in a login: connect_timeout holds") {
  ScriptedPeer peer([](Link& link) {
    link.send(start_frame());
    link.receive(method::connection_start_ok);
    beat(link);
  });
  warren::ConnectionOptions options = test_options();
  options.connect_timeout = 500ms;
  const auto error = thrown<ConnectionError>([&] { Connection{peer.endpoint(), options}; });
  CHECK_FALSE(error.permanent());
  CHECK(contains(error.text(), "in time (connect_timeout)"));
}

TEST_CASE("heartbeats for ever in a recovery's login: the second endpoint is tried, and serves") {
  const CutThenBeating peer;
  ScriptedPeer second([](Link& link) {
    link.shake_hands();
    link.wait_for_end();
  });
  Watch watch;
  warren::ConnectionOptions options = watch.options();
  options.connect_timeout = 300ms;
  options.recovery.initial_delay = 10ms;
  Connection connection{std::vector{peer.endpoint(), second.endpoint()}, options};
  CHECK_THROWS_AS(connection.open_channel(), warren::Error);
  CHECK(eventually([&] { return second.connections() > 0 && connection.is_open(); }));
  INFO(watch.log());
  CHECK(peer.logins() >= 1);
}

TEST_CASE("close() ends a login that is under way: no thread and no descriptor is left") {
  const CutThenBeating peer;
  const Resources before = resources();
  {
    Watch watch;
    warren::ConnectionOptions options = watch.options();
    options.connect_timeout = 60s;
    options.recovery.initial_delay = 10ms;
    Connection connection{peer.endpoint(), options};
    CHECK_THROWS_AS(connection.open_channel(), warren::Error);
    REQUIRE(eventually([&] { return peer.logins() > 1; }));
    CHECK(time_of([&] { connection.close(); }) < 30s);  // half of connect_timeout
    CHECK(connection.state() == ConnectionState::closed);
  }
  INFO("threads: " << thread_names() << "; descriptors: " << descriptor_names());
  CHECK(eventually([&] { return resources().threads <= before.threads; }));
  // The peer still has its own end until it notices.
  CHECK(eventually([&] { return resources().descriptors <= before.descriptors; }));
}

TEST_CASE("connection.blocked in the segment of connection.open-ok is seen") {
  ScriptedPeer peer([](Link& link) {
    link.shake_hands_until_open();
    link.send(method_frame(0, method::connection_open_ok, short_string("")) +
              method_frame(0, method::connection_blocked, short_string("low on memory")));
    link.wait_for_end();
  });
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 100ms;
  Connection connection{peer.endpoint(), options};
  CHECK(eventually([&] { return connection.blocked() == "low on memory"; }));
}

TEST_CASE("an endpoint that is no broker: the error says what seems to be there, and is not permanent") {
  struct Case {
    std::string says;
    const char* told;
  };
  const std::vector<Case> cases{{"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"},
                                {"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"},
                                {std::string("\x15\x03\x01\0\x02\x02\x46", 7), "a TLS server"}};
  for (const Case& each : cases) {
    ScriptedPeer peer([&](Link& link) { link.send(each.says); });
    const auto error = thrown<ConnectionError>([&] { Connection{peer.endpoint(), test_options()}; });
    CHECK(contains(error.text(), each.told));
    CHECK_FALSE(error.permanent());
  }
}
