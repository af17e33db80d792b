// A whole connection against a peer that speaks AMQP, but for what the input says: login, declarations,
// publishing, consuming with a retry policy, a parking lot, recovery. Whatever the peer does, each call
// returns or throws warren's own error, and the connection ends.
//
// The input is a few options, then one action for each method that the client sends. Past its end the peer
// answers as a broker would. The peer is a thread behind a socket on 127.0.0.1.
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <warren/warren.hpp>

#include "loopback_peer.hpp"
#include "peer_frames.hpp"
#include "support/frames.hpp"
#include "support/sockets.hpp"
#include "threads.hpp"

namespace {

using namespace warren;
using namespace std::chrono_literals;
using fuzz::expect;
using fuzz::Input;
using support::Descriptor;
using support::method_frame;
using support::number;
using support::short_string;

// A call waits no longer for an answer that the peer keeps to itself.
constexpr auto patience = 20ms;

class Peer : fuzz::LoopbackPeer {
 public:
  Peer(const Descriptor& listener, Input input) : LoopbackPeer(listener), input_(input) {
    start([this] { serve(); });
  }
  ~Peer() { stop(); }

 private:
  struct ChannelState {
    bool confirms = false;
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;
  };

  void serve() {
    channels_.clear();
    support::FrameReader reader(support::Direction::to_broker, 0);
    react(0, [&] { send(support::start_frame()); });
    std::vector<support::Frame> frames;
    for (;;) {
      char buffer[16 * 1024];
      const std::string_view bytes = receive(buffer);
      frames.clear();
      reader.read(bytes, frames);
      for (const support::Frame& frame : frames) {
        if (frame.type != 1) continue;
        react(frame.channel, [&] { answer(frame); });
      }
    }
  }

  // What the input says, before, after or in place of the right answer.
  template <typename Answer>
  void react(std::uint16_t channel, Answer&& answer) {
    const auto tag = [&] { return input_.flag() ? ++channels_[channel].delivered : input_.byte(); };
    switch (input_.below(16)) {
      case 1:
        send(fuzz::odd_frames(input_, channel, tag()));
        return answer();
      case 2:
        answer();
        return send(fuzz::odd_frames(input_, channel, tag()));
      case 3:
        return send(fuzz::odd_frames(input_, channel, tag()));
      case 4:
        send(fuzz::odd_login(input_));
        return answer();
      case 5:
        return send(fuzz::odd_login(input_));
      case 6:
        send(input_.text());
        return answer();
      case 7:
        answer();
        answer();
        return;
      case 8:
        throw LinkGone();
      case 9:
        answer();
        throw LinkGone();
      case 10:
        ::shutdown(link(), SHUT_WR);  // an end, not a reset
        throw LinkGone();
      case 11:
        return;  // says nothing
      case 12: {
        const auto other = input_.number<std::uint16_t>();
        send(fuzz::odd_frames(input_, other, tag()));
        return answer();
      }
      case 13:
        for (std::size_t i = input_.byte(); i > 0; --i) deliver(channel, "again");
        return answer();
      default:
        return answer();
    }
  }

  void deliver(std::uint16_t channel, std::string_view body) {
    const std::uint64_t tag = ++channels_[channel].delivered;
    send(method_frame(
             channel, support::method::basic_deliver,
             short_string("c") + number(tag, 8) + number(0, 1) + short_string("") + short_string("orders")) +
         support::header_frame(channel, body.size()) + support::frame(3, channel, body));
  }

  // As a broker would.
  void answer(const support::Frame& frame) {
    const std::uint16_t channel = frame.channel;
    const auto say = [&](std::string_view arguments = {}) {
      send(method_frame(channel, frame.method + 1, arguments));
    };
    switch (frame.method) {
      case support::method::connection_start_ok:
        return send(method_frame(0, support::method::connection_tune,
                                 number(2'047, 2) + number(131'072, 4) + number(0, 2)));
      case 0x000A0028:  // connection.open
        return say(short_string(""));
      case 0x0014000A:  // channel.open
        channels_[channel] = {};
        return say(number(0, 4));
      case 0x000A0032:  // connection.close
        say();
        throw LinkGone();
      case 0x000A0033:  // connection.close-ok
        throw LinkGone();
      case 0x0032000A:  // queue.declare
        return say(short_string("orders") + number(3, 4) + number(0, 4));
      case 0x0032001E:  // queue.purge
      case 0x00320028:  // queue.delete
        return say(number(3, 4));
      case support::method::confirm_select:
        channels_[channel].confirms = true;
        return say();
      case 0x003C0014:  // basic.consume
        say(short_string("c"));
        deliver(channel, "one");
        return deliver(channel, "two");
      case 0x003C001E:  // basic.cancel
        return say(short_string("c"));
      case 0x003C0028: {  // basic.publish
        ChannelState& state = channels_[channel];
        if (!state.confirms) return;
        return send(
            method_frame(channel, support::method::basic_ack, number(++state.published, 8) + number(0, 1)));
      }
      case 0x003C0046: {  // basic.get
        ChannelState& state = channels_[channel];
        const std::uint64_t tag = ++state.delivered;
        return send(method_frame(channel, support::method::basic_get_ok,
                                 number(tag, 8) + number(0, 1) + short_string("") + short_string("orders") +
                                     number(2, 4)) +
                    support::header_frame(channel, 3) + support::frame(3, channel, "got"));
      }
      case 0x00320032:  // queue.unbind
      case 0x0028000A:  // exchange.declare
      case 0x00280014:  // exchange.delete
      case 0x00320014:  // queue.bind
      case support::method::basic_qos:
      case 0x00140028:  // channel.close
      case 0x0028001E:  // exchange.bind
        return say();
      case 0x00280028:  // exchange.unbind
        return send(method_frame(channel, 0x00280033));
      default:
        return;
    }
  }

  Input input_;  // its actions; the thread's own
  std::map<std::uint16_t, ChannelState> channels_;
};

// Counts handler runs, for whoever waits for some.
class Runs {
 public:
  int add() {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
    return ++count_;
  }
  void await(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// Runs a step; any error of warren's is as good as an answer.
template <typename Step>
void attempt(Step&& step) {
  try {
    step();
  } catch (const Error& error) {
    expect(error.what() != std::string(), "an error says what happened");
    expect(fuzz::is_safe(error.what()), "an error can be shown in a terminal");
  }
}

struct Scenario {
  explicit Scenario(Input& input) : which(input.byte()), how(input.byte()), more(input.byte()) {}

  [[nodiscard]] bool has(unsigned bit) const { return ((which >> bit) & 1U) != 0; }
  [[nodiscard]] bool is(unsigned bit) const { return ((how >> bit) & 1U) != 0; }
  [[nodiscard]] bool also(unsigned bit) const { return ((more >> bit) & 1U) != 0; }

  void publish(Connection& connection) const {
    Publisher publisher(connection, {.routing_key = "orders",
                                     .window = 8,
                                     .timeout = patience,
                                     .on_loss = is(0) ? OnLoss::fail : OnLoss::resend});
    attempt([&] { publisher.publish(Message("one", {.headers = {{"mine", 1}}})); });
    std::vector<Confirmation> open;
    for (int i = 0; i < 5; ++i)
      attempt(
          [&] { open.push_back(publisher.publish_async(Message(std::string(is(1) ? 70'000 : 10, 'x')))); });
    for (Confirmation& each : open) attempt([&] { each.wait(); });
    attempt([&] { publisher.flush(patience); });
  }

  void declare(Connection& connection) const {
    Channel channel = connection.open_channel();
    attempt([&] {
      channel.declare_exchange("shop");
      Queue queue = channel.declare_queue("orders");
      queue.bind("shop", "new");
      queue.unbind("shop", "new");
      (void)queue.purge();
    });
    attempt([&] {
      for (int i = 0; i < 2; ++i) {
        if (const auto delivery = channel.get("orders"))
          is(2) ? delivery->ack() : delivery->nack(Requeue{true});
      }
      channel.publish("", "orders", Message("raw"));
    });
    attempt([&] { channel.close(); });
  }

  [[nodiscard]] RetryPolicy policy() const {
    switch ((how >> 3U) & 3U) {
      case 0:
        return RetryPolicy::none();
      case 1:
        return RetryPolicy::immediate({.max_attempts = 2});
      case 2:
        return RetryPolicy::to_queue("orders_retry");
      default:
        return RetryPolicy::fixed(1ms);
    }
  }

  void consume(Connection& connection) const {
    Runs runs;
    ConsumerOptions options{.prefetch = 4, .retry = policy(), .drain_timeout = 5ms};
    if (is(5)) options.crash_guard.emplace();
    if (is(6)) options.stop_within = patience;
    options.queue_wait = patience;
    if (also(0)) options.circuit_breaker = {.window = 1, .pause = 1ms};
    if (also(1)) options.handler_timeout = 1ms;
    if (also(2)) options.ack_mode = AckMode::manual;
    if (also(3)) options.arguments = {{"x-stream-offset", "first"}};
    if (also(4)) options.concurrency = 3;
    Consumer consumer(connection, "orders", std::move(options));
    consumer.start([&](const Delivery& delivery) {
      const int run = runs.add();
      (void)delivery.retry();
      if (also(2) && run != 3) delivery.ack_up_to();
      if (run == 2 || also(6)) throw std::runtime_error("on purpose");
    });
    runs.await(also(5) ? 8 : 2);  // 8: what is recovered, or tried again, comes too
    consumer.request_stop();
    attempt([&] { consumer.stop(); });
    try {
      consumer.wait();
    } catch (const std::runtime_error& error) {  // the handler's, with RetryPolicy::none()
      expect(error.what() != nullptr, "an error has a text");
    }
  }

  void look(Connection& connection) const {
    ParkingLot lot(connection, "orders_parked");
    const ParkedSelection selection{.limit = 2, .timeout = patience};
    attempt([&] { (void)lot.inspect([](const ParkedMessage&) {}, selection); });
    attempt([&] { (void)lot.replay(selection); });
    attempt([&] { (void)lot.discard(selection); });
  }

  void run(std::uint16_t port) const {
    ConnectionOptions options;
    options.connect_timeout = 10 * patience;
    options.operation_timeout = patience;
    options.close_timeout = patience;
    options.heartbeat = 0s;
    options.log_level = LogLevel::debug;
    options.on_log = [](const LogEvent& event) {
      expect(!event.text.empty() && fuzz::is_safe(event.text), "a log line can be shown in a terminal");
    };
    options.on_state = [](const StateEvent&) {};
    options.recovery = {
        .enabled = has(0), .initial_delay = 1ms, .early_max_delay = 1ms, .max_delay = 1ms, .max_tries = 3};
    Connection connection(Endpoint{.host = has(1) ? "localhost" : "127.0.0.1", .port = port}, options);
    if (has(2)) attempt([&] { declare(connection); });
    if (has(3)) attempt([&] { publish(connection); });
    if (has(4)) attempt([&] { consume(connection); });
    if (has(5)) attempt([&] { look(connection); });
    (void)connection.blocked();
    if (is(7)) connection.close();
  }

  std::uint8_t which;
  std::uint8_t how;
  std::uint8_t more;
};

}  // namespace

void fuzz::fuzz(Input input) {
  // One for all: a port of its own for each would leave none.
  static const auto& listening = *new auto(support::listen_here());
  while (support::accept_from(listening.first)) {  // who came too late for the run before
  }
  const Scenario scenario(input);
  const Peer peer(listening.first, input);
  const NoThreadIsLeft ends;
  attempt([&] { scenario.run(listening.second); });
}
