#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "support/catch.hpp"

using warren::AuthMechanism;
using warren::Endpoint;
using warren::TlsOptions;
using warren::Uri;
using namespace std::chrono_literals;

namespace {

/// The text of the InvalidArgument that parsing throws; empty where it throws none.
std::string fault(const std::string& text) {
  try {
    static_cast<void>(Uri::parse(text));
  } catch (const warren::InvalidArgument& error) {
    CHECK(error.operation() == "parse URI");
    CHECK(error.permanent());
    CHECK_FALSE(error.in_doubt());
    return error.text();
  }
  return {};
}

bool contains(const std::string& text, const std::string& piece) {
  return text.find(piece) != std::string::npos;
}

}  // namespace

TEST_CASE("a URI names an endpoint") {
  struct Case {
    std::string text;
    Endpoint expected;
  };
  const std::string long_name(255, 'x');
  const std::vector<Case> cases{
      {"amqp://", {}},
      {"AmQp://", {}},
      {"amqp:///", {}},
      {"amqp://?", {}},
      {"amqp://localhost", {}},
      {"amqp://h/", {.host = "h"}},
      {"amqp://h/%2f", {.host = "h"}},
      {"amqp://h/%2F", {.host = "h"}},
      {"amqp://h/vhost", {.host = "h", .vhost = "vhost"}},
      {"amqp://h/a%2fb", {.host = "h", .vhost = "a/b"}},
      {"amqp://h/a@b:c", {.host = "h", .vhost = "a@b:c"}},
      {"amqp://h:1", {.host = "h", .port = 1}},
      {"amqp://h:65535/", {.host = "h", .port = 65535}},
      {"amqp://:10000", {.port = 10000}},
      {"amqp://user@h", {.host = "h", .user = "user"}},
      {"amqp://user@", {.user = "user"}},
      {"amqp://user:pass@", {.user = "user", .password = "pass"}},
      {"amqp://:@/", {.user = "", .password = ""}},
      {"amqp://user:@h", {.host = "h", .user = "user", .password = ""}},
      {"amqp://user:pass@host:10000/vhost",
       {.host = "host", .port = 10000, .vhost = "vhost", .user = "user", .password = "pass"}},
      {"amqp://user%61:%61pass@ho%61st:10000/v%2fhost",
       {.host = "hoast", .port = 10000, .vhost = "v/host", .user = "usera", .password = "apass"}},
      {"amqp://u%40x:p%3a%2F%3F%23%25+@h", {.host = "h", .user = "u@x", .password = "p:/?#%+"}},
      {"amqp://%C3%A9:%ff%80@h/%c3%a9",
       {.host = "h", .vhost = "\xC3\xA9", .user = "\xC3\xA9", .password = "\xFF\x80"}},
      {"amqp://[::1]", {.host = "::1"}},
      {"amqp://u:p@[2001:DB8::1]:5673/v",
       {.host = "2001:DB8::1", .port = 5673, .vhost = "v", .user = "u", .password = "p"}},
      {"amqp://[::ffff:127.0.0.1]", {.host = "::ffff:127.0.0.1"}},
      {"amqp://[fe80::1%25eth0]", {.host = "fe80::1%eth0"}},
      {"amqp://" + long_name + ":" + long_name + "@h/" + long_name,
       {.host = "h", .vhost = long_name, .user = long_name, .password = long_name}},
      {"amqps://h", {.host = "h", .tls = TlsOptions{}}},
      {"AMQPS://h:1", {.host = "h", .port = 1, .tls = TlsOptions{}}},
      {"amqp://h?auth_mechanism=plain", {.host = "h"}},
      {"amqp://h?auth_mechanism=EXTERNAL", {.host = "h", .mechanism = AuthMechanism::external}},
      {"amqps://h?auth_mechanism=external",
       {.host = "h", .mechanism = AuthMechanism::external, .tls = TlsOptions{}}},
      {"amqps://h?cacertfile=/etc/ca.pem&certfile=%2Fetc%2Fc.pem&keyfile=k%20.pem",
       {.host = "h",
        .tls = TlsOptions{.ca_file = "/etc/ca.pem", .certificate_file = "/etc/c.pem", .key_file = "k .pem"}}},
      {"amqps://h?verify=verify_peer", {.host = "h", .tls = TlsOptions{}}},
      {"amqps://h?verify=verify_none",
       {.host = "h", .tls = TlsOptions{.verify_peer = false, .verify_host = false}}},
      {"amqps://h?server_name_indication=broker.example",
       {.host = "h", .tls = TlsOptions{.server_name = "broker.example"}}},
      {"amqps://h?server_name_indication=disable", {.host = "h", .tls = TlsOptions{.server_name = ""}}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(fault(c.text).empty());
    const Uri uri = fault(c.text).empty() ? Uri::parse(c.text) : Uri{};
    CHECK(uri.endpoint.host == c.expected.host);
    CHECK(uri.endpoint.port == c.expected.port);
    CHECK(uri.endpoint.vhost == c.expected.vhost);
    CHECK(uri.endpoint.user == c.expected.user);
    CHECK(uri.endpoint.password == c.expected.password);
    CHECK((uri.endpoint == c.expected));
    CHECK_FALSE(uri.heartbeat.has_value());
    CHECK_FALSE(uri.connection_timeout.has_value());
    CHECK_FALSE(uri.channel_max.has_value());
  }
}

TEST_CASE("the port follows from TLS where none is given") {
  CHECK(Endpoint{}.effective_port() == 5672);
  CHECK(Endpoint{.tls = TlsOptions{}}.effective_port() == 5671);
  CHECK(Endpoint{.port = 1}.effective_port() == 1);
  CHECK(Uri::parse("amqps://h").endpoint.effective_port() == 5671);
  CHECK(Uri::parse("amqps://h:5672").endpoint.effective_port() == 5672);
}

TEST_CASE("a URI carries connection settings as parameters") {
  const Uri all = Uri::parse("amqp://h/v?heartbeat=10&connection_timeout=2500&channel_max=64");
  CHECK((all.heartbeat == 10s));
  CHECK((all.connection_timeout == 2500ms));
  CHECK((all.channel_max == std::uint16_t{64}));
  CHECK(all.endpoint.vhost == "v");
  CHECK((Uri::parse("amqp://?heartbeat=0").heartbeat == 0s));
  CHECK((Uri::parse("amqp://?heartbeat=65535").heartbeat == 65535s));
  CHECK((Uri::parse("amqp://?he%61rtbeat=%31").heartbeat == 1s));
  CHECK((Uri::parse("amqp://?connection_timeout=1").connection_timeout == 1ms));
  CHECK((Uri::parse("amqp://?channel_max=0").channel_max == std::uint16_t{0}));
  CHECK((Uri::parse("amqp://?channel_max=65535").channel_max == std::uint16_t{65535}));
}

TEST_CASE("a token of any length is a password, and a user's name too") {
  const std::string token(8'000, 'x');
  const Uri uri = Uri::parse("amqp://" + token + ":" + token + "@h");
  CHECK((uri.endpoint.user == token));
  CHECK((uri.endpoint.password == token));
}

TEST_CASE("a broken URI is refused with the fault and its place") {
  struct Case {
    std::string text;
    std::string piece;
  };
  const std::string too_long(256, 'x');
  const std::vector<Case> cases{
      {"", "amqp://"},
      {"localhost", "amqp://"},
      {"amqp:h", "amqp://"},
      {"http://h", "amqp://"},
      {"://h", "amqp://"},
      {" amqp://h", "amqp://"},
      {"amqp://h h", "position 9"},
      {"amqp://h\n", "position 9"},
      {std::string("amqp://h\0", 9), "position 9"},
      {"amqp://h#", "fragment"},
      {"amqp://h/v?heartbeat=1#f", "position 23"},
      {"amqp://h:", "port"},
      {"amqp://h:0", "port"},
      {"amqp://h:65536", "port"},
      {"amqp://h:99999999999", "port"},
      {"amqp://h:+1", "port"},
      {"amqp://h:5672x", "position 10"},
      {"amqp://h:1:2", "brackets"},
      {"amqp://::1", "brackets"},
      {"amqp://[::1", "']'"},
      {"amqp://::1]", "bracket"},
      {"amqp://[]", "IPv6"},
      {"amqp://[h]", "IPv6"},
      {"amqp://[::1]x", "position 13"},
      {"amqp://[::1]:", "port"},
      {"amqp://[fe80::1%eth0]", "zone"},
      {"amqp://[fe80::1%25]", "zone"},
      {"amqp://h/a/b", "position 11"},
      {"amqp://h//", "position 10"},
      {"amqp://h/%", "position 10"},
      {"amqp://h/%2", "position 10"},
      {"amqp://h/%2g", "position 10"},
      {"amqp://h/%00", "%00"},
      {"amqp://h%00", "%00"},
      {"amqp://%00@h", "%00"},
      {"amqp://u@v@h", "second '@'"},
      {"amqp://h/" + too_long, "virtual host has more than 255"},
      {"amqp://?heartbeat", "heartbeat"},
      {"amqp://?heartbeat=", "heartbeat"},
      {"amqp://?heartbeat=-1", "heartbeat"},
      {"amqp://?heartbeat=65536", "heartbeat"},
      {"amqp://?heartbeat=1s", "heartbeat"},
      {"amqp://?heartbeat=1&heartbeat=1", "heartbeat is given twice"},
      {"amqp://?heartbeat=1&", "without a name"},
      {"amqp://?&heartbeat=1", "without a name"},
      {"amqp://?=1", "without a name"},
      {"amqp://?connection_timeout=0", "connection_timeout"},
      {"amqp://?connection_timeout=2147483648", "connection_timeout"},
      {"amqp://?channel_max=65536", "channel_max"},
      {"amqp://?auth_mechanism=amqplain", "amqplain is not supported"},
      {"amqp://?auth_mechanism=gssapi", "auth_mechanism"},
      {"amqp://?frame_size=1", "unknown parameter frame_size"},
      {"amqp://h/a@b?Heartbeat=1", "unknown parameter Heartbeat"},
      {"amqp://?cacertfile=a", "cacertfile needs amqps"},
      {"amqp://?certfile=a", "certfile needs amqps"},
      {"amqp://?keyfile=a", "keyfile needs amqps"},
      {"amqp://?verify=verify_peer", "verify needs amqps"},
      {"amqp://?server_name_indication=a", "server_name_indication needs amqps"},
      {"amqps://?cacertfile=", "cacertfile"},
      {"amqps://?verify=none", "verify"},
      {"amqps://?verify=verify_none&verify=verify_peer", "verify is given twice"},
      {"amqps://?server_name_indication=", "server_name_indication"},
  };
  for (const Case& c : cases) {
    const std::string text = fault(c.text);
    CAPTURE(c.text, text);
    CHECK_FALSE(text.empty());
    CHECK(contains(text, c.piece));
  }
}

TEST_CASE("no fault of a URI shows a piece of the password") {
  const std::vector<std::string> cases{
      "u:hunter2@h",
      "hunter2://u:hunter2@h",
      "amqp://u:hunter2@h:x",
      "amqp://u:hunter2@h/a/b",
      "amqp://u:hunter2@h?foo=1",
      "amqp://u:hunter2@h#f",
      "amqp://u:hunter2%@h",
      "amqp://u:hunter2%00@h",
      "amqp://u:hunter2 hunter2@h",
      "amqp://u:hunter2:hunter2@h",
      "amqp://u:hunter2@hunter2@h",
      "amqp://u:hunter2/hunter2@h",
      "amqp://u:hunter2#hunter2@h",
      "amqp://u:hunter2?hunter2@h",
      "amqp://u:1?hunter2=hunter2@h",
      "amqp://u:p@1?hunter2=1&hunter2=@h",
      "amqp://u:1?heartbeat=hunter2@h",
      "amqp://u:[hunter2]@[hunter2",
      "amqp://u:hunter2@h/" + std::string(300, 'x'),
      "amqp://u:" + std::string(300, 'x') + "hunter2@h/a/b",
  };
  for (const std::string& c : cases) {
    const std::string text = fault(c);
    CAPTURE(c, text);
    CHECK_FALSE(text.empty());
    CHECK_FALSE(contains(text, "hunter2"));
  }
}
