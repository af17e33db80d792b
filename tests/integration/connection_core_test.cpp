#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include <warren/warren.hpp>

#include "engine/connection_core.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

using namespace std::chrono_literals;
using namespace warren::engine;
using namespace support;
namespace wire = warren::wire;

namespace {

auto in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

std::vector<warren::Endpoint> broker() {
  const char* url = std::getenv("AMQP_URL");
  if (url == nullptr) FAIL("AMQP_URL is not set: run tests/run.sh, which starts a private broker");
  return {warren::Uri::parse(url).endpoint};
}

// Recovers once it is let.
struct SlowToRecover : Recoverable {
  void recover(std::chrono::steady_clock::time_point) override {
    ++times;
    (void)eventually([&] { return let.load(); });
  }
  void abandon(const warren::ErrorDetails&) noexcept override {}

  std::atomic<int> times{0};
  std::atomic<bool> let{false};
};

// Others come while it recovers.
struct BringsOthers : Recoverable {
  explicit BringsOthers(ConnectionCore& to) : core(to) {}
  void recover(std::chrono::steady_clock::time_point) override {
    for (int i = 0; i < 100; ++i) {
      others.push_back(std::make_shared<SlowToRecover>());
      core.add(others.back());
    }
  }
  void abandon(const warren::ErrorDetails&) noexcept override {}

  ConnectionCore& core;
  std::vector<std::shared_ptr<SlowToRecover>> others;
};

}  // namespace

TEST_CASE("a core declares, publishes and gets; a 404 closes one channel, whose number is used again") {
  ConnectionCore core(broker(), {.heartbeat = 1s});
  core.open();
  const auto channel = core.open_channel(in(5s));
  const Reply queue = channel->call(
      "queue.declare", wire::id::queue_declare_ok, in(5s),
      [](Bytes& out, auto number) { wire::queue_declare(out, number, "", {.exclusive = true}, {}); });
  const std::string body(300'000, 'x');
  CHECK(channel->send("basic.publish", Outbox::Entry::lone, [&](Bytes& out, auto number) {
    wire::append_content(out, number, "", queue.name, false, {}, {}, body, core.negotiated().frame_max);
  }));
  const Reply got = channel->call("basic.get", wire::id::basic_get_ok, in(5s), [&](Bytes& out, auto number) {
    wire::basic_get(out, number, queue.name, true);
  });
  REQUIRE(got.content != nullptr);
  CHECK(got.content->delivery.body() == body);

  try {
    channel->call("basic.get", wire::id::basic_get_ok, in(5s),
                  [](Bytes& out, auto number) { wire::basic_get(out, number, "there is none", true); });
    FAIL("it returned");
  } catch (const warren::ChannelError& error) {
    CHECK(error.code() == 404);
  }
  CHECK(core.state() == warren::ConnectionState::open);
  const auto again = core.open_channel(in(5s));
  CHECK(again->number() == channel->number());
  again->close(in(5s));
  core.close(in(5s));
  CHECK(core.state() == warren::ConnectionState::closed);
  CHECK_THROWS_AS(core.open_channel(in(5s)), warren::ConnectionError);
}

TEST_CASE("a connection that is lost again behind the recovery's back is not declared open") {
  std::atomic<int> links{0};
  std::atomic<bool> cut{false};
  std::atomic<bool> answers{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    const int nth = links++;
    if (nth == 3) (void)eventually([&] { return answers.load(); });
    link.shake_hands();
    if (nth == 1) (void)eventually([&] { return cut.load(); });
    if (nth == 3) link.wait_for_end();
  });
  const auto slow = std::make_shared<SlowToRecover>();
  ConnectionCore core({peer.endpoint()}, {.recovery = {.initial_delay = 20ms}});
  core.add(slow);
  core.open();
  REQUIRE(eventually([&] { return slow->times == 1; }));
  cut = true;
  REQUIRE(eventually([&] { return links == 4; }));  // the third link came and went
  slow->let = true;
  CHECK_FALSE(eventually([&] { return core.state() == warren::ConnectionState::open; }, 300ms));
  answers = true;
  CHECK(eventually([&] { return core.state() == warren::ConnectionState::open; }));
  CHECK(slow->times == 2);
  core.close(in(100ms));
}

TEST_CASE("others that come while some recover leave none of these out") {
  std::atomic<int> links{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    const bool first = links++ == 0;
    link.shake_hands();
    if (!first) link.wait_for_end();
  });
  ConnectionCore core({peer.endpoint()}, {.recovery = {.initial_delay = 20ms}});
  const auto brings = std::make_shared<BringsOthers>(core);
  core.add(brings);
  std::vector<std::shared_ptr<SlowToRecover>> behind;
  for (int i = 0; i < 5; ++i) {
    behind.push_back(std::make_shared<SlowToRecover>());
    behind.back()->let = true;
    core.add(behind.back());
  }
  core.open();
  CHECK(eventually([&] { return behind.back()->times == 1; }));
  for (const auto& each : behind) CHECK(each->times == 1);
  core.close(in(100ms));
}

TEST_CASE("a queue whose arguments fit no frame any more is told, and those behind it are declared again") {
  std::atomic<int> links{0};
  std::atomic<bool> declared{false};
  std::atomic<int> declared_again{0};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    const bool first = links++ == 0;
    link.shake_hands(first ? Tune{} : Tune{.frame_max = 8'192});
    (void)link.receive(method::channel_open);
    link.send(method_frame(1, 0x0014000B, long_string("")));
    for (const char* name : {"big", "small"}) {
      if (!first && name == std::string_view("big")) continue;
      (void)link.receive(method::queue_declare);
      link.send(method_frame(1, 0x0032000B, short_string(name) + number(0, 4) + number(0, 4)));
    }
    if (first) {
      (void)eventually([&] { return declared.load(); });
      return link.reset();
    }
    ++declared_again;
    link.wait_for_end();
  });
  LogLines log;
  warren::ConnectionOptions options = test_options();
  options.recovery = {.initial_delay = 20ms};
  options.close_timeout = 100ms;
  options.on_log = [&](const warren::LogEvent& event) { log.add(event.text); };
  warren::Connection connection{peer.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  (void)channel.declare_queue("big", {.arguments = {{"x-big", std::string(20'000, 'x')}}});
  (void)channel.declare_queue("small");
  declared = true;
  CHECK(eventually([&] { return declared_again == 1; }));
  CHECK(eventually([&] { return log.has("not declared again: queue.declare \"big\""); }));
}

TEST_CASE("a call that meets the connection at its end is told the cause") {
  std::atomic<bool> logged_in{false};
  ScriptedPeer peer([&](ScriptedPeer::Link& link) {
    link.shake_hands();
    (void)eventually([&] { return logged_in.load(); });
    link.send(method_frame(0, method::connection_close,
                           number(403, 2) + short_string("ACCESS_REFUSED - not you") + number(0, 4)));
    link.wait_for_end();
  });
  ConnectionCore core({peer.endpoint()}, {.recovery = {.enabled = false}});
  core.open();
  logged_in = true;
  REQUIRE(eventually([&] { return core.state() == warren::ConnectionState::failed; }));
  const auto error = thrown<warren::ConnectionError>([&] {
    core.unless_lost(in(5s), [] {  // as where the outbox was closed, and the state not yet set
      throw warren::ConnectionError({.operation = "basic.qos",
                                     .text = "the connection is closed",
                                     .scope = warren::ErrorScope::connection});
    });
  });
  CHECK(error.code() == 403);
  CHECK(error.permanent());
  CHECK(error.operation() == "basic.qos");
}
