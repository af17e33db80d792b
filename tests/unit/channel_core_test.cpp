#include <poll.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/channel_core.hpp"
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/thrown.hpp"
#include "wire/malformed.hpp"

using namespace std::chrono_literals;
using namespace warren::engine;
namespace wire = warren::wire;

namespace {

auto in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

// Whether the channel asked for its tick, and how often.
struct Ticks final : Ticker {
  bool request_tick(std::shared_ptr<ChannelCore>) noexcept override {
    ++requests;
    return has_memory;
  }
  int requests = 0;
  bool has_memory = true;
};

// Plays the I/O thread's side of channel 3 with frames made by the encoders themselves.
struct Script {
  Script() {
    outbox.open(nullptr);
    channel.post(wire::id::channel_open_ok, ChannelCore::Answer::ignored, wire::channel_open);
    outbox.wrote(sent().size());
    const std::string open_ok = support::method_frame(3, wire::id::channel_open_ok, support::long_string(""));
    receive({open_ok.begin(), open_ok.end()});
    Output nothing;
    outbox.take(nothing);
  }

  // Waits until a caller appended something, and returns it.
  Bytes sent() {
    Output out;
    while (!outbox.take(out)) {
      pollfd descriptor{outbox.wakeup().descriptor(), POLLIN, 0};
      REQUIRE(::poll(&descriptor, 1, 10'000) == 1);
      outbox.wakeup().clear();
    }
    return out.bytes();
  }

  ChannelCore::After receive(const Bytes& bytes) {
    ChannelCore::After after = ChannelCore::After::nothing;
    std::string_view input(bytes.data(), bytes.size());
    while (const auto frame = wire::next_frame(input, 131'072)) after = channel.on_frame(*frame, decoder);
    return after;
  }

  auto get_async(std::chrono::milliseconds time = 10s) {
    return std::async(std::launch::async, [this, time] {
      return channel.call(
          "basic.get", wire::id::basic_get_ok, in(time),
          [](Bytes& out, std::uint16_t number) { wire::basic_get(out, number, "orders", false); });
    });
  }

  Outbox outbox{1024};
  Ticks ticks;
  const std::shared_ptr<ChannelCore> shared = std::make_shared<ChannelCore>(outbox, 3, 131'072, &ticks);
  ChannelCore& channel = *shared;
  std::atomic<bool> closed{false};
  wire::MethodDecoder decoder;
};

Bytes method(std::uint32_t id) {
  Bytes bytes{1, 0, 3, 0, 0, 0, 0};
  std::string arguments;
  if (id == wire::id::basic_get_empty) arguments = std::string(1, '\0');
  bytes[6] = static_cast<char>(4 + arguments.size());
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>((id >> shift) & 0xFF));
  bytes.insert(bytes.end(), arguments.begin(), arguments.end());
  bytes.push_back(static_cast<char>(0xCE));
  return bytes;
}

// An empty message.
Bytes get_ok(std::uint64_t tag) {
  const std::string frames =
      support::method_frame(3, wire::id::basic_get_ok,
                            support::number(tag, 8) + std::string(1, '\0') + support::short_string("") +
                                support::short_string("orders") + support::number(0, 4)) +
      support::header_frame(3, 0);
  return {frames.begin(), frames.end()};
}

}  // namespace

TEST_CASE("an answer reaches the call that asked for it") {
  Script script;
  auto get = script.get_async();
  script.sent();
  CHECK(script.receive(method(wire::id::basic_get_empty)) == ChannelCore::After::nothing);
  CHECK(get.get().method == wire::id::basic_get_empty);
}

TEST_CASE("channel.close fails every waiter with its code and text, and everything after it") {
  Script script;
  auto first = script.get_async();
  script.sent();
  auto second = script.get_async();
  script.sent();
  Bytes close;
  wire::channel_close(close, 3, 404, "NOT_FOUND - no queue 'orders'");
  CHECK(script.receive(close) == ChannelCore::After::send_close_ok);
  CHECK_FALSE(script.channel.is_open());
  script.channel.fail_waiters();
  for (auto* call : {&first, &second}) {
    try {
      call->get();
      FAIL("it returned");
    } catch (const warren::ChannelError& error) {
      CHECK(error.code() == 404);
      CHECK(error.text() == "NOT_FOUND - no queue 'orders'");
      CHECK(error.operation() == "basic.get");
      CHECK(error.scope() == warren::ErrorScope::channel);
      CHECK(error.permanent());
    }
  }
  CHECK_FALSE(script.channel.is_open());
  CHECK_THROWS_AS(script.get_async().get(), warren::ChannelError);
}

TEST_CASE("a refusal that passes with time is not permanent") {
  const std::vector<std::pair<std::uint16_t, std::string>> passing{
      {404, "NOT_FOUND - home node 'rabbit@b' of durable queue 'orders' is down or inaccessible"},
      {406, "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out"}};
  for (const auto& [code, text] : passing) {
    Script script;
    auto call = script.get_async();
    script.sent();
    Bytes close;
    wire::channel_close(close, 3, code, text);
    script.receive(close);
    script.channel.fail_waiters();
    const auto error = support::thrown<warren::ChannelError>([&] { call.get(); });
    CHECK(error.code() == code);
    CHECK_FALSE(error.permanent());
  }
}

TEST_CASE("a call that gave up doesn't take the next one's answer") {
  Script script;
  auto impatient = script.get_async(1ms);
  script.sent();
  CHECK_THROWS_AS(impatient.get(), warren::TimeoutError);
  auto patient = script.get_async();
  script.sent();
  script.receive(method(wire::id::basic_get_empty));  // the late one
  CHECK(patient.wait_for(0s) == std::future_status::timeout);
  script.receive(method(wire::id::basic_get_empty));
  CHECK(patient.get().method == wire::id::basic_get_empty);
}

TEST_CASE(
    "a message that comes too late is requeued, but not behind a channel.close; one acknowledged already is "
    "done") {
  Script script;
  const auto get_late = [&](bool no_ack) {
    const auto late_delivery = no_ack ? ChannelCore::LateDelivery::keep : ChannelCore::LateDelivery::requeue;
    CHECK_THROWS_AS(
        script.channel.call(
            "basic.get", wire::id::basic_get_ok, in(0ms),
            [&](Bytes& out, std::uint16_t number) { wire::basic_get(out, number, "orders", no_ack); },
            late_delivery),
        warren::TimeoutError);
    script.sent();
  };
  SECTION("requeued") {
    get_late(false);
    script.receive(get_ok(1));
    const Bytes sent = script.sent();
    std::vector<support::Frame> frames;
    support::FrameReader(support::Direction::to_client, 0).read({sent.data(), sent.size()}, frames);
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].method == wire::id::basic_nack);
    CHECK(frames[0].delivery_tag == 1);
    CHECK(frames[0].requeue);
  }
  SECTION("closed meanwhile") {
    get_late(false);
    script.channel.begin_close();
    script.sent();
    script.receive(get_ok(1));
    Output nothing;
    CHECK_FALSE(script.outbox.take(nothing));
  }
  SECTION("acknowledged by being sent") {
    get_late(true);
    script.receive(get_ok(1));
    CHECK_FALSE(script.channel.is_unsettled(1));
    Output nothing;
    CHECK_FALSE(script.outbox.take(nothing));
  }
}

TEST_CASE("answers that nobody asked for are refused") {
  Script script;
  CHECK_THROWS_AS(script.receive(method(wire::id::basic_get_empty)), wire::MalformedFrame);
  auto get = script.get_async();
  script.sent();
  CHECK_THROWS_AS(script.receive(method(wire::id::basic_qos_ok)), wire::MalformedFrame);
  script.channel.fail({.text = "lost", .scope = warren::ErrorScope::connection});
  CHECK_THROWS_AS(get.get(), warren::ConnectionError);
}

TEST_CASE("a channel that both sides close at once never says channel.close and forgets the answer to it") {
  Bytes close;
  wire::channel_close(close, 3, 404, "NOT_FOUND - no queue 'orders'");
  std::atomic<Script*> round{nullptr};
  std::thread closing([&] {
    for (int i = 0; i < 2'000; ++i) {
      Script* script = nullptr;
      while ((script = round.exchange(nullptr)) == nullptr) std::this_thread::yield();
      // From ahead of the other side to behind it.
      for (std::atomic<int> spins{0}; spins < i % 400; ++spins) {
      }
      script->channel.begin_close();
      script->closed = true;
    }
  });
  int forgotten = 0;
  for (int i = 0; i < 2'000; ++i) {
    Script script;
    round = &script;
    while (round.load() != nullptr) {
    }
    const auto after = script.receive(close);
    while (!script.closed) std::this_thread::yield();
    Output out;
    const bool said_close = script.outbox.take(out);
    if (said_close != (after == ChannelCore::After::answer_close)) ++forgotten;
  }
  closing.join();
  CHECK(forgotten == 0);
}

TEST_CASE(
    "an acknowledgement goes out at once if no tick is near; those behind it are merged until the tick") {
  Script script;
  const auto fetch = [&](std::uint64_t tag) {
    auto get = script.get_async();
    script.sent();
    script.receive(get_ok(tag));
    get.get();
  };
  const auto acknowledged = [&] {
    std::vector<std::uint64_t> tags;
    Output out;
    if (!script.outbox.take(out)) return tags;
    const Bytes sent = out.bytes();
    std::vector<support::Frame> frames;
    support::FrameReader(support::Direction::to_client, 0).read({sent.data(), sent.size()}, frames);
    for (const support::Frame& frame : frames) {
      CHECK(frame.method == wire::id::basic_ack);
      tags.push_back(frame.delivery_tag);
    }
    return tags;
  };
  using Tags = std::vector<std::uint64_t>;
  constexpr std::size_t most = 10;
  for (std::uint64_t tag = 1; tag <= 5; ++tag) fetch(tag);

  CHECK(script.channel.acknowledge_later(1, most) == ChannelCore::Settlement::accepted);
  CHECK(acknowledged() == Tags{1});
  CHECK(script.ticks.requests == 1);
  script.channel.acknowledge_later(2, most);
  script.channel.acknowledge_later(3, most);
  CHECK(acknowledged().empty());
  CHECK(script.channel.tick());
  CHECK(acknowledged() == Tags{3});
  CHECK(script.ticks.requests == 1);

  CHECK_FALSE(script.channel.tick());  // nothing gathered: the next one goes out at once again
  script.ticks.has_memory = false;
  script.channel.acknowledge_later(4, most);
  CHECK(acknowledged() == Tags{4});
  script.channel.acknowledge_later(5, most);  // nobody will come by
  CHECK(acknowledged() == Tags{5});
  CHECK(script.ticks.requests == 3);
}
