#include "wire/login.hpp"

#include <warren/error.hpp>

#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/thrown.hpp"

using namespace support;
using namespace std::string_literals;
using warren::ConnectionError;
using warren::Endpoint;
using warren::wire::Login;
using warren::wire::Proposal;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t tune_ok = 0x000A001F;
constexpr std::uint32_t open = 0x000A0028;
constexpr std::uint32_t secure = 0x000A0014;

std::string start(std::string_view mechanisms = "PLAIN AMQPLAIN", std::string_view properties = "") {
  return start_frame(mechanisms, properties);
}
std::string tune(std::uint16_t channels = 2'047, std::uint32_t frame_max = 131'072,
                 std::uint16_t heartbeat = 60) {
  return method_frame(0, method::connection_tune,
                      number(channels, 2) + number(frame_max, 4) + number(heartbeat, 2));
}
std::string open_ok() { return method_frame(0, method::connection_open_ok, short_string("")); }
std::string close(std::uint16_t code, std::string_view text) {
  return method_frame(0, method::connection_close, number(code, 2) + short_string(text) + number(0, 4));
}
const std::string heartbeat = frame(8, 0, "");

// A client that logs in, and the bytes that its peer has sent.
struct Client {
  explicit Client(Proposal proposal = {}, Endpoint endpoint = {})
      : login(endpoint, proposal, "connect to here") {}

  // What is left of the bytes.
  std::string hears(std::string_view bytes) {
    std::string_view input = bytes;
    login.receive(input);
    return std::string(input);
  }
  ConnectionError refuses(std::string_view bytes) {
    return thrown<ConnectionError>([&] { hears(bytes); });
  }
  // The methods that it has sent since.
  std::vector<std::uint32_t> says() {
    std::vector<Frame> frames;
    reader.read({login.output().data(), login.output().size()}, frames);
    login.output().clear();
    std::vector<std::uint32_t> methods;
    for (const Frame& each : frames) methods.push_back(each.method);
    return methods;
  }

  Login login;
  FrameReader reader{Direction::to_broker, 0};
};

}  // namespace

TEST_CASE("a login begins with the protocol header and answers start, then tune") {
  Client client;
  CHECK(std::string(client.login.output().data(), client.login.output().size()) == "AMQP\0\0\x09\x01"s);
  CHECK(client.says().empty());
  CHECK(client.hears(start()).empty());
  CHECK(client.says() == std::vector<std::uint32_t>{method::connection_start_ok});
  CHECK(client.hears(heartbeat + tune()).empty());
  CHECK(client.says() == std::vector<std::uint32_t>{tune_ok, open});
  CHECK_FALSE(client.login.done());
  CHECK(client.hears(heartbeat + open_ok()).empty());
  CHECK(client.login.done());
  CHECK(client.says().empty());
}

TEST_CASE("a login takes bytes one by one, and leaves what follows open-ok") {
  Client client;
  std::string buffer;
  for (const char byte : start() + tune() + open_ok()) {
    CHECK_FALSE(client.login.done());
    buffer = client.hears(buffer + byte);
  }
  CHECK(client.login.done());
  CHECK(buffer.empty());

  const std::string behind = method_frame(0, method::connection_blocked, short_string("low on memory"));
  Client other;
  CHECK(other.hears(start() + tune() + open_ok() + behind) == behind);
  CHECK(other.login.done());
}

TEST_CASE("a login sends user and password once, however long they are, and EXTERNAL sends none") {
  const std::string password(7'900, 'p');
  Client client({}, {.user = "u", .password = password});
  client.hears(start());
  const std::string sent(client.login.output().data(), client.login.output().size());
  CHECK(sent.find(long_string("\0u\0"s + password)) != std::string::npos);

  Client external({}, {.user = "u", .password = "secret", .mechanism = warren::AuthMechanism::external});
  external.hears(start("PLAIN EXTERNAL"));
  const std::string other(external.login.output().data(), external.login.output().size());
  CHECK(other.find(short_string("EXTERNAL")) != std::string::npos);
  CHECK(other.find("secret") == std::string::npos);
}

TEST_CASE("of both sides' limits the lower one is agreed on, and 0 is no limit") {
  struct Case {
    Proposal ours;
    std::uint16_t channels;
    std::uint32_t frame_max;
    std::uint16_t heartbeat;
    std::uint16_t agreed_channels;
    std::uint32_t agreed_frame_max;
    std::chrono::seconds agreed_heartbeat;
  };
  const std::vector<Case> cases{
      {{.heartbeat = 30s, .frame_max = 65'536, .channel_max = 100}, 2'047, 131'072, 60, 100, 65'536, 30s},
      {{.heartbeat = 30s, .frame_max = 131'072, .channel_max = 100}, 8, 16'384, 10, 8, 16'384, 10s},
      {{.heartbeat = 30s, .frame_max = 131'072, .channel_max = 0}, 0, 0, 0, 65'535, 131'072, 30s},
      {{.heartbeat = 0s, .frame_max = 131'072, .channel_max = 7}, 0, 0xFFFFFFFF, 60, 7, 131'072, 0s},
  };
  for (const Case& each : cases) {
    Client client(each.ours);
    client.hears(start() + tune(each.channels, each.frame_max, each.heartbeat) + open_ok());
    CHECK(client.login.negotiated().channel_max == each.agreed_channels);
    CHECK(client.login.negotiated().frame_max == each.agreed_frame_max);
    CHECK(client.login.negotiated().heartbeat == each.agreed_heartbeat);
  }
  Client small;
  small.hears(start());
  const auto error = small.refuses(tune(2'047, 4'096));
  CHECK(error.permanent());
  CHECK(error.text() == "the negotiated frame_max is 4096 bytes, below 8192");
}

TEST_CASE("what the broker refuses keeps its code, and is answered") {
  Client client;
  client.hears(start());
  client.says();
  const auto error = client.refuses(close(403, "ACCESS_REFUSED - not you"));
  CHECK(error.code() == 403);
  CHECK(error.permanent());
  CHECK(error.text() == "ACCESS_REFUSED - not you");
  CHECK(client.says() == std::vector<std::uint32_t>{method::connection_close_ok});

  Client going;
  CHECK_FALSE(going.refuses(start() + tune() + close(320, "CONNECTION_FORCED")).permanent());
}

TEST_CASE("a method out of turn, a foreign frame, and a frame of another channel end the login") {
  const std::vector<std::string> out_of_turn{
      tune(),
      open_ok(),
      start() + start(),
      start() + open_ok(),
      start() + tune() + tune(),
      method_frame(0, method::connection_blocked, short_string("x")),
      start() + frame(3, 0, "body"),
      start() + tune() + method_frame(1, method::basic_ack, number(1, 8) + number(0, 1)),
      start() + frame(2, 1, std::string(14, '\0')),
      frame(1, 0, "xy")};
  for (const std::string& bytes : out_of_turn) {
    Client client;
    const auto error = client.refuses(bytes);
    CHECK_FALSE(error.permanent());
    CHECK(error.text().starts_with("the broker broke the protocol during the login: "));
  }
  Client client;
  client.hears(start());
  CHECK(client.refuses(method_frame(0, secure, long_string("more"))).permanent());
}

TEST_CASE("a login mechanism that the broker does not offer is a permanent error") {
  for (const std::string mechanisms : {"AMQPLAIN", "PLAINER", ""}) {
    CHECK(Client().refuses(start(mechanisms)).text() ==
          "the broker does not offer the login mechanism PLAIN");
  }
  CHECK(Client().refuses(start("")).permanent());
}

TEST_CASE("of a peer that speaks another protocol the error says which") {
  const auto text = [](std::string_view bytes) { return Client().refuses(bytes).text(); };
  CHECK(text("HTTP/1.1 400 Bad Request\r\n").starts_with("an HTTP server answered"));
  CHECK(text("SSH-2.0-OpenSSH_9.2\r\n").starts_with("an SSH server answered"));
  CHECK(text("\x15\x03\x01\0\x02\x02\x46"s).starts_with("a TLS server answered"));
  CHECK(text("AMQP\0\1\0\0"s).find("another version of the protocol (00 01 00 00)") != std::string::npos);
  CHECK_FALSE(Client().refuses("AMQP\3\1\0\0"s).permanent());
  CHECK(text("\r\n\x1b[2Jhi, you").find("(it began with the bytes 0d 0a 1b 5b 32 4a 68 69)") !=
        std::string::npos);
  CHECK_FALSE(Client().refuses("220 mail.example ESMTP").permanent());
}

TEST_CASE("a login takes at most 1 MiB, whatever it is made of") {
  const auto floods = [](const std::string& first, const std::string& more) {
    Client client;
    if (!first.empty()) client.hears(first);
    std::size_t sent = first.size();
    std::string buffer;
    try {
      for (; sent < 4 * Login::most_bytes; sent += more.size()) buffer = client.hears(buffer + more);
    } catch (const ConnectionError& error) {
      CHECK_FALSE(error.permanent());
      CHECK(sent <= Login::most_bytes + more.size());
      return true;
    }
    return false;
  };
  std::string heartbeats;
  for (int i = 0; i < 1'000; ++i) heartbeats += heartbeat;
  CHECK(floods("", start("PLAIN", std::string(100'000, '\0'))));
  CHECK(floods(start(), heartbeats));
  CHECK(floods(start() + tune(), heartbeats));
  CHECK(floods("", number(1, 1) + number(0, 2) + number(0xFFFFFFF0, 4) + "data"));
}

TEST_CASE("server-properties: an empty key is taken, and nesting beyond the bound breaks the protocol") {
  Client client;
  client.hears(start("PLAIN", short_string("") + "V"));
  CHECK(client.login.server_properties().contains(""));

  std::string nested = "V";
  for (int i = 0; i < 10'000; ++i) nested = "A" + long_string(nested);
  const auto error = Client().refuses(start("PLAIN", short_string("k") + nested));
  CHECK_FALSE(error.permanent());
}
