// One channel: the frames of a broker that says anything in any order, and callers who settle, close and give
// up in between. What it says itself are whole frames of this channel.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <warren/error.hpp>

#include "engine/channel_core.hpp"
#include "fuzz.hpp"
#include "peer_frames.hpp"
#include "support/frames.hpp"
#include "wire/malformed.hpp"

namespace {

using namespace warren;
using namespace warren::engine;
using fuzz::expect;
using fuzz::Input;

constexpr std::uint32_t frame_max = 8'192;
constexpr std::uint16_t number = 3;

// Keeps what was delivered, as a subscription does, and gives it back for its memory.
struct Sink : ChannelSink {
  void on_delivery(ContentAssembler::ContentPtr content) override {
    expect(content != nullptr, "a delivery is a message");
    expect(content->method == wire::id::basic_deliver, "a delivery came by basic.deliver");
    expect(!closed, "nothing comes after the end");
    arrived.push_back(std::move(content));
  }
  void on_turn_end(std::vector<ContentAssembler::ContentPtr>& spare) override {
    for (auto& content : arrived) spare.push_back(std::move(content));
    arrived.clear();
  }
  void on_return(ContentAssembler::ContentPtr content) override {
    expect(content->method == wire::id::basic_return, "a return came by basic.return");
  }
  bool on_confirm(std::uint64_t tag, bool, bool) override { return tag <= 1'000; }
  void on_closed(const ErrorDetails&) override {
    expect(!closed, "the end comes once");
    closed = true;
  }

  std::vector<ContentAssembler::ContentPtr> arrived;
  bool closed = false;
};

struct Run {
  // What is under way as it begins, by bits of `which`: nothing, not even channel.open; or a consumer, a
  // publisher.
  explicit Run(std::uint8_t which) {
    outbox.open(nullptr);
    channel->set_sink(sink);
    if ((which & 1U) != 0) return;
    ask(wire::id::channel_open_ok, support::number(0, 4), wire::channel_open);
    if ((which & 2U) == 0) {
      ask(wire::id::basic_consume_ok, support::short_string("c"), [](wire::Bytes& out, std::uint16_t self) {
        wire::basic_consume(out, self, "orders", "c", {}, {});
      });
    }
    if ((which & 4U) == 0) ask(wire::id::confirm_select_ok, {}, wire::confirm_select);
  }

  // Says a method, and hears the right answer.
  template <typename Encode>
  void ask(std::uint32_t answer, std::string_view arguments, Encode&& encode) {
    channel->post(answer, ChannelCore::Answer::ignored, encode);
    check_output();
    expect(hears(support::method_frame(number, answer, arguments)), "a right answer is taken");
  }

  // What the channel has said since.
  void check_output() {
    Output out;
    if (!outbox.take(out)) return;
    const auto& bytes = out.bytes();
    outbox.wrote(bytes.size());
    std::string_view rest(bytes.data(), bytes.size());
    while (const auto frame = wire::next_frame(rest, frame_max))
      expect(frame->channel == number, "a channel says frames of its own");
    expect(rest.empty(), "a channel says whole frames");
  }

  // False once the connection would be gone.
  bool hears(std::string_view bytes) {
    try {
      while (const auto frame = wire::next_frame(bytes, frame_max)) {
        if (frame->channel != number) continue;  // the connection's to judge
        switch (channel->on_frame(*frame, decoder)) {
          case ChannelCore::After::nothing:
          case ChannelCore::After::answer_close:
            break;
          case ChannelCore::After::send_close_ok:
          case ChannelCore::After::closed:
            channel->fail_waiters();
            channel->forgotten();
            return false;
        }
      }
      return true;
    } catch (const wire::MalformedFrame&) {
      channel->fail({.text = "the broker broke the protocol", .scope = ErrorScope::connection});
      return false;
    }
  }

  Outbox outbox{1024};
  std::shared_ptr<Sink> sink = std::make_shared<Sink>();
  std::shared_ptr<ChannelCore> channel = std::make_shared<ChannelCore>(outbox, number, frame_max);
  wire::MethodDecoder decoder;
  std::vector<ChannelCore::Call> calls;
  std::uint64_t tag = 0;
};

// The next number that a delivery may have, or any.
std::string said(Run& run, Input& input) {
  const std::uint64_t tag = input.flag() ? ++run.tag : input.byte();
  return fuzz::odd_frames(input, number, tag);
}

void act(Run& run, Input& input) {
  ChannelCore& channel = *run.channel;
  const std::uint64_t tag = input.byte();
  const auto gone = std::chrono::steady_clock::now();
  switch (input.below(16)) {
    case 0:
      run.calls.push_back(channel.begin(
          "basic.get", wire::id::basic_get_ok,
          [](wire::Bytes& out, std::uint16_t self) { wire::basic_get(out, self, "orders", false); },
          ChannelCore::LateDelivery::requeue));
      return;
    case 1:
      run.calls.push_back(channel.begin(
          "queue.declare", wire::id::queue_declare_ok,
          [](wire::Bytes& out, std::uint16_t self) { wire::queue_declare(out, self, "", {}, {}); }));
      return;
    case 2:
      if (!run.calls.empty()) {
        const ChannelCore::Call call = run.calls.back();
        run.calls.pop_back();
        (void)channel.finish(call, "a call", gone);
      }
      return;
    case 3:
      channel.post(wire::id::confirm_select_ok, ChannelCore::Answer::told,
                   [](wire::Bytes& out, std::uint16_t self) { wire::confirm_select(out, self); });
      return;
    case 4:
      channel.acknowledge(tag, input.flag());
      return;
    case 5:
      channel.refuse(tag, input.flag(), input.flag());
      return;
    case 6:
      (void)channel.acknowledge_later(tag, input.byte());
      return;
    case 7:
      (void)channel.flush_acks();
      return;
    case 8:
      channel.settled_by_broker(tag);
      return;
    case 9:
      channel.give_back_unsettled();
      return;
    case 10:
      if (channel.has_arrivals()) (void)channel.end_turn();
      return;
    case 11:
      (void)channel.tick();
      channel.unblocked();
      return;
    case 12:
      expect(channel.await_settled(tag, gone) <= 1'000, "only what came can be unsettled");
      (void)channel.is_unsettled(tag);
      (void)channel.oldest_unsettled();
      (void)channel.lowest_unsettled();
      return;
    case 13:
      channel.begin_close();
      return;
    case 14:
      input.flag() ? channel.retire() : channel.give_up();
      return;
    default:
      channel.set_stream();
  }
}

}  // namespace

void fuzz::fuzz(Input input) {
  Run run(input.byte());
  for (int i = 0; i < 200 && !input.empty(); ++i) {
    if (input.flag()) {
      if (!run.hears(said(run, input))) break;
    } else {
      try {
        act(run, input);
      } catch (const Error&) {  // the channel is closed, nothing was answered, or there is no such delivery
      }
    }
    run.check_output();
  }
  run.channel->fail({.text = "the end", .scope = ErrorScope::connection});
  expect(!run.channel->is_open(), "a channel that failed is closed");
  for (const ChannelCore::Call& call : run.calls) {
    try {
      (void)run.channel->finish(call, "a call", std::chrono::steady_clock::now());
    } catch (const Error&) {
    }
  }
}
