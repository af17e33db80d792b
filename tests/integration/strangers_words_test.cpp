#include <warren/warren.hpp>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/scripted_peer.hpp"
#include "support/thrown.hpp"

// What a broker or a publisher wrote reaches no log line, no error's text and no event raw.

using namespace support;
using Link = ScriptedPeer::Link;

namespace {

// All kinds, each of which does harm; in the end a text that is to stay as it is.
const std::string name =
    "\x1b[2J\x1b]0;owned\x07\r\n[info] well\x7f\xc2\x9b"
    "31m\xe2\x80\xa8\xe2\x80\xae\xd8\x9c ü中文";
const std::string words = name + "\xff\xc3";  // where nothing says that it is UTF-8

// Of the test's own, on purpose: nothing of src/ judges itself.
bool is_clean(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f || byte == 0xff) return false;
    if (byte == 0xc3 && (i + 1 == text.size() || (text[i + 1] & 0xc0) != 0x80)) return false;
  }
  for (const std::string_view harmful : {"\xc2\x9b", "\xe2\x80\xa8", "\xe2\x80\xae", "\xd8\x9c"}) {
    if (text.find(harmful) != std::string_view::npos) return false;
  }
  return true;
}

// Every text that reached the program.
class Texts {
 public:
  void add(std::string text) {
    const std::lock_guard lock(mutex_);
    texts_.push_back(std::move(text));
  }
  void add(const warren::ErrorDetails& error) {
    add(error.operation);
    add(error.text);
    add(warren::Error(error).what());
  }
  void add(const warren::Error& error) {
    add(error.what());
    add(error.details());
  }
  [[nodiscard]] warren::ConnectionOptions options() {
    warren::ConnectionOptions options = test_options();
    options.operation_timeout = 10s;
    options.close_timeout = 100ms;
    options.log_level = warren::LogLevel::debug;
    options.on_log = [this](const warren::LogEvent& event) { add(event.text); };
    options.on_state = [this](const warren::StateEvent& event) {
      if (event.blocked) add(*event.blocked);
      if (event.error) add(*event.error);
      for (const warren::NotRecovered& each : event.not_recovered) add(each.error);
    };
    return options;
  }
  // Whether this is a part of a text, which has got the harmless end of the words, too.
  [[nodiscard]] bool has(std::string_view part) const {
    const std::lock_guard lock(mutex_);
    for (const std::string& text : texts_) {
      if (contains(text, part) && contains(text, "ü中文")) return true;
    }
    return false;
  }
  // Waits for such a text; then all must be clean.
  void check(std::string_view part) const {
    INFO(part);
    CHECK(eventually([&] { return has(part); }));
    const std::lock_guard lock(mutex_);
    for (const std::string& text : texts_) {
      INFO(text);
      CHECK(is_clean(text));
    }
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> texts_;
};

std::string header(std::uint16_t channel, std::size_t size, std::string_view properties) {
  return frame(2, channel, number(60, 2) + number(0, 2) + number(size, 8) + std::string(properties));
}

std::string close_channel(std::uint16_t channel, std::uint16_t code, std::string_view text) {
  return method_frame(channel, method::channel_close, number(code, 2) + short_string(text) + number(0, 4));
}

// Logs in, and answers what is not asked of `hook`, until the client goes.
void serve(Link& link, const std::function<bool(const Frame&)>& hook) {
  link.shake_hands();
  for (;;) {
    const Frame frame = link.receive();
    if (hook(frame)) continue;
    switch (frame.method) {
      case method::channel_open:
        link.send(method_frame(frame.channel, method::channel_open_ok, number(0, 4)));
        break;
      case method::queue_declare:
        link.send(method_frame(frame.channel, method::queue_declare_ok,
                               short_string("q") + number(1, 4) + number(0, 4)));
        break;
      case method::basic_qos:
      case method::confirm_select:
        link.send(method_frame(frame.channel, frame.method + 1));
        break;
      case method::basic_consume:
        link.send(method_frame(frame.channel, method::basic_consume_ok, short_string("tag")));
        break;
      case method::channel_close:
      case method::connection_close:
        link.send(method_frame(frame.channel, frame.method + 1));
        break;
      default:
        break;
    }
  }
}

}  // namespace

TEST_CASE("a reply-text that closes the connection", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    serve(link, [&](const Frame& frame) {
      if (frame.method != method::queue_declare) return false;
      link.send(method_frame(0, method::connection_close,
                             number(320, 2) + short_string("bye" + words) + number(0, 4)));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  warren::Channel channel = connection.open_channel();
  texts.add(thrown<warren::ConnectionError>([&] { channel.declare_queue("q"); }));
  texts.check("bye");
}

TEST_CASE("a reply-text that closes a channel, and a queue's name", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    serve(link, [&](const Frame& frame) {
      if (frame.method != method::queue_declare) return false;
      link.send(close_channel(frame.channel, 404, "no queue" + words));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  warren::Channel channel = connection.open_channel();
  texts.add(thrown<warren::ChannelError>([&] { channel.declare_queue_passive("queue" + name); }));
  texts.check("no queue");
  texts.check("queue.declare \"queue");
}

TEST_CASE("the reason of an alarm", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    serve(link, [&](const Frame& frame) {
      if (frame.method != method::confirm_select) return false;
      link.send(method_frame(0, method::connection_blocked, short_string("low on memory" + words)));
      link.send(method_frame(frame.channel, frame.method + 1));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  warren::Publisher publisher(connection, {.routing_key = "q"});
  REQUIRE(eventually([&] { return connection.blocked().has_value(); }));
  texts.add(*connection.blocked());
  texts.add(
      thrown<warren::BlockedError>([&] { publisher.publish(warren::Message("m"), {.timeout = 50ms}); }));
  texts.check("low on memory");
}

TEST_CASE("the id of a message, and what its handler says of it", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    serve(link, [&](const Frame& frame) {
      if (frame.method != method::basic_consume) return false;
      const std::string deliver =
          short_string("tag") + number(1, 8) + number(0, 1) + short_string("") + short_string("q");
      link.send(method_frame(frame.channel, method::basic_consume_ok, short_string("tag")) +
                method_frame(frame.channel, method::basic_deliver, deliver) +
                header(frame.channel, words.size(), number(0x0080, 2) + short_string("id" + words)) +
                support::frame(3, frame.channel, words));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  warren::Consumer consumer(connection, "q", {.handler_timeout = 20ms});
  consumer.start([&](const warren::Delivery& delivery) {
    (void)eventually([&] { return texts.has("message id"); });  // told of while it runs
    throw std::runtime_error("can't read " + std::string(delivery.body()));
  });
  CHECK_THROWS_AS(consumer.wait(), std::runtime_error);
  texts.check("message id");
  texts.check("can't read ");
}

TEST_CASE("the headers of a parked message", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    std::uint64_t published = 0;
    serve(link, [&](const Frame& frame) {
      if (frame.method == method::basic_get) {
        const std::string headers = short_string("retry-original-queue") + "S" + long_string("lost" + name);
        link.send(
            method_frame(frame.channel, method::basic_get_ok,
                         number(1, 8) + number(0, 1) + short_string("") + short_string("q") + number(0, 4)) +
            header(frame.channel, 1, number(0x2000, 2) + long_string(headers)) +
            support::frame(3, frame.channel, "x"));
        return true;
      }
      if (frame.method != method::basic_publish) return false;
      const std::string stamp = short_string("warren-stamp") + "l" + number(++published, 8);
      link.send(method_frame(frame.channel, method::basic_return,
                             number(312, 2) + short_string("NO_ROUTE" + words) + short_string("") +
                                 short_string("lost" + name)) +
                header(frame.channel, 0, number(0x2000, 2) + long_string(stamp)) +
                method_frame(frame.channel, method::basic_ack, number(published, 8) + number(0, 1)));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  const auto replay = [&](const std::vector<std::string>& allowed) {
    warren::ParkingLot lot(connection, "q", {.allowed_queues = allowed});
    const warren::ParkedResult result = lot.replay();
    for (const warren::ParkedFailure& failure : result.failures) texts.add(failure.why);
    if (result.ended_by) texts.add(*result.ended_by);
    REQUIRE(result.failures.size() == 1);
    return result.failures[0];
  };
  CHECK(replay({"other" + name}).queue == "lost" + name);  // data, to be compared: as it is
  texts.check("a replay sends to \"other");
  CHECK(replay({"lost" + name}).queue == "lost" + name);
  texts.check("NO_ROUTE");
}

TEST_CASE("a message that is returned", "[words]") {
  Texts texts;
  ScriptedPeer peer([](Link& link) {
    serve(link, [&](const Frame& frame) {
      if (frame.method != method::basic_publish) return false;
      const std::string stamp = short_string("warren-stamp") + "l" + number(1, 8);
      link.send(method_frame(frame.channel, method::basic_return,
                             number(312, 2) + short_string("NO_ROUTE" + words) + short_string("x" + words) +
                                 short_string("key" + words)) +
                header(frame.channel, 0, number(0x2000, 2) + long_string(stamp)) +
                method_frame(frame.channel, method::basic_ack, number(1, 8) + number(0, 1)));
      return true;
    });
  });
  warren::Connection connection(peer.endpoint(), texts.options());
  warren::Publisher publisher(connection, {.routing_key = "q"});
  texts.add(thrown<warren::ReturnedError>([&] { publisher.publish(warren::Message("m")); }));
  texts.check("NO_ROUTE");
}

TEST_CASE("a host, in an Endpoint and in a URI", "[words]") {
  Texts texts;
  warren::Endpoint endpoint;
  endpoint.host = "host" + words;
  warren::ConnectionOptions options = texts.options();
  options.connect_timeout = 5s;
  options.recovery.enabled = false;
  texts.add(thrown<warren::Error>([&] { warren::Connection(endpoint, options); }));
  texts.check("host");
  std::string encoded;  // percent-encoded: what a URI may hold
  for (const char c : words)
    encoded += std::string("%") + "0123456789abcdef"[(c >> 4) & 15] + "0123456789abcdef"[c & 15];
  texts.add(thrown<warren::Error>([&] { warren::Connection("amqp://uri" + encoded + "/", options); }));
  texts.check("");
}
