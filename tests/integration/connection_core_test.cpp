#include <cstdlib>
#include <thread>

#include "engine/connection_core.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using namespace warren::engine;
namespace wire = warren::wire;

namespace {

auto in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

std::vector<warren::Endpoint> broker() {
  const char* url = std::getenv("AMQP_URL");
  if (url == nullptr) FAIL("AMQP_URL is not set: run tests/run.sh, which starts a private broker");
  return {warren::Uri::parse(url).endpoint};
}

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
