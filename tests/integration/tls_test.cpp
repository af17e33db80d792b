#include <stdlib.h>

#include <fstream>

#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/scripted_peer.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"
#include "support/tls_broker.hpp"
#include "support/tls_peer.hpp"
#include "wire/transport.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionError;
using warren::Endpoint;
using warren::TlsOptions;
using warren::wire::Transport;

namespace {

ConnectionError refused(const Endpoint& endpoint, std::chrono::milliseconds timeout = 10s) {
  return thrown<ConnectionError>([&] { (void)Transport::connect(endpoint, {.timeout = timeout}); });
}

// A name that the certificate is not for, a loopback address like 127.0.0.1.
constexpr const char* other_address = "127.0.0.2";

// Connects, and has an answer from the broker.
void works(const Endpoint& endpoint) {
  Connection connection{endpoint, test_options()};
  warren::Channel channel = connection.open_channel();
  CHECK_FALSE(channel.declare_queue("", {.exclusive = true}).name().empty());
}

}  // namespace

TEST_CASE("amqps connects where the certificate is for the host's name or its address", "[tls]") {
  const Endpoint endpoint = tls_broker().tls_endpoint();
  works(endpoint);
  works(tls_broker().tls_endpoint("127.0.0.1"));

  const std::string url =
      "amqps://localhost:" + std::to_string(endpoint.port) + "?cacertfile=" + certificates().ca();
  Connection connection{url, test_options(unique_name("tls"))};
  CHECK(connection.is_open());
  // The broker's own view: the protocol, and no certificate of ours.
  const auto rows = tls_broker().list({"list_connections", "ssl", "ssl_protocol", "peer_cert_subject"});
  REQUIRE(rows.size() == 1);
  CHECK(rows[0][0] == "true");
  CHECK((rows[0][1] == "tlsv1.3" || rows[0][1] == "tlsv1.2"));
}

TEST_CASE("a broker's plain port, asked for TLS, and its TLS port, asked for plain TCP: the error says so",
          "[tls]") {
  Endpoint plain_port = tls_broker().tls_endpoint();
  plain_port.port = tls_broker().endpoint().port;
  CHECK(contains(refused(plain_port).text(), "speaks no TLS"));
  Endpoint tls_port = tls_broker().endpoint();
  tls_port.port = tls_broker().tls_endpoint().port;
  CHECK(contains(refused(tls_port).text(), "a TLS server answered"));
}

TEST_CASE("over TLS only the I/O thread may write", "[tls]") {
  const auto secured = Transport::connect(tls_broker().tls_endpoint(), {});
  CHECK_FALSE(secured->direct_writes());
  CHECK(secured->wants_write(true));
  CHECK_FALSE(secured->wants_write(false));
  const auto plain = Transport::connect(tls_broker().endpoint(), {});
  CHECK(plain->direct_writes());
  CHECK(plain->wants_write(true));
  CHECK_FALSE(plain->wants_write(false));
}

TEST_CASE("without a CA file the system's authorities are trusted", "[tls]") {
  Endpoint endpoint = tls_broker().tls_endpoint();
  endpoint.tls->ca_file.clear();
  const ConnectionError error = refused(endpoint);
  CHECK(error.permanent());
  CHECK(contains(error.text(), "no trusted authority"));

  ::setenv("SSL_CERT_FILE", certificates().ca().c_str(), 1);  // where OpenSSL looks for the system's
  works(endpoint);
  ::unsetenv("SSL_CERT_FILE");
}

TEST_CASE("a certificate for another host is refused for good", "[tls]") {
  SECTION("another name") {
    const TlsPeer peer(certificates().issue("other", "DNS:other.example,DNS:*.localhost,DNS:local*"));
    const ConnectionError error = refused(peer.endpoint());
    CHECK(error.permanent());
    CHECK(error.code() == 0);
    CHECK(contains(error.text(), "hostname mismatch"));
    CHECK(contains(error.text(), "localhost"));
    CHECK(contains(error.text(), "CN=other"));
  }
  SECTION("another address") {
    const ConnectionError error = refused(tls_broker().tls_endpoint(other_address));
    CHECK(error.permanent());
    CHECK(contains(error.text(), "IP address mismatch"));
    CHECK(contains(error.text(), other_address));
  }
  SECTION("an address among the names is none") {
    const TlsPeer peer(certificates().issue("127.0.0.1", "DNS:127.0.0.1"));
    CHECK(contains(refused(peer.endpoint("127.0.0.1")).text(), "IP address mismatch"));
  }
}

TEST_CASE("a certificate that nobody vouches for, or that has expired, is refused for good", "[tls]") {
  Certificates& made = certificates();
  SECTION("an unknown authority's") {
    const TlsPeer peer(made.issue_unknown("server", "DNS:localhost"));
    const ConnectionError error = refused(peer.endpoint());
    CHECK(error.permanent());
    CHECK(contains(error.text(), "no trusted authority"));
  }
  SECTION("its own") {
    const TlsPeer peer(made.self_signed("server", "DNS:localhost"));
    const ConnectionError error = refused(peer.endpoint());
    CHECK(error.permanent());
    CHECK(contains(error.text(), "self"));
    CHECK(contains(error.text(), "no trusted authority"));
  }
  SECTION("expired") {
    const TlsPeer peer(made.issue_expired("server", "DNS:localhost"));
    const ConnectionError error = refused(peer.endpoint());
    CHECK(error.permanent());
    CHECK(contains(error.text(), "certificate has expired"));
    CHECK_FALSE(contains(error.text(), "authority"));
  }
}

TEST_CASE("verification can be turned off, each half by itself", "[tls]") {
  Endpoint endpoint = tls_broker().tls_endpoint(other_address);
  SECTION("the host's: any name, but a trusted authority") {
    endpoint.tls->verify_host = false;
    works(endpoint);
    endpoint.tls->ca_file.clear();
    CHECK(contains(refused(endpoint).text(), "no trusted authority"));
  }
  SECTION("the peer's: any authority, but the right host") {
    endpoint.tls->verify_peer = false;
    endpoint.tls->ca_file.clear();
    CHECK(contains(refused(endpoint).text(), "IP address mismatch"));
    endpoint.host = "localhost";
    works(endpoint);
  }
  SECTION("both") {
    endpoint.tls = TlsOptions{.verify_peer = false, .verify_host = false};
    works(endpoint);
    works(warren::Uri::parse("amqps://127.0.0.2:" + std::to_string(endpoint.port) + "?verify=verify_none")
              .endpoint);
  }
}

TEST_CASE("a file that is missing or wrong is a permanent error that names it", "[tls]") {
  Certificates& made = certificates();
  const Certificate client = made.issue("guest", "");
  const Certificate other = made.issue("other", "");
  const std::string garbage = made.file("garbage.pem", "no certificate");
  const std::string missing = made.folder() + "/there-is-none.pem";
  const std::string ca = made.ca();
  struct Case {
    TlsOptions options;
    std::string file;
    const char* why;
  };
  const std::vector<Case> cases{
      {{.ca_file = missing}, missing, "No such file"},
      {{.ca_file = garbage}, garbage, "CA file"},
      {{.ca_file = made.folder()}, made.folder(), "CA file"},
      {{.ca_file = missing, .verify_peer = false, .verify_host = false}, missing, "No such file"},
      {{.ca_file = ca, .certificate_file = missing, .key_file = client.key}, missing, "No such file"},
      {{.ca_file = ca, .certificate_file = garbage, .key_file = client.key}, garbage, "client's certificate"},
      {{.ca_file = ca, .certificate_file = client.certificate, .key_file = missing}, missing, "No such file"},
      {{.ca_file = ca, .certificate_file = client.certificate, .key_file = garbage}, garbage, "private key"},
      {{.ca_file = ca, .certificate_file = client.certificate, .key_file = other.key}, other.key, "mismatch"},
      {{.ca_file = ca, .certificate_file = client.certificate}, client.certificate, "private key"},
      {{.ca_file = ca, .key_file = client.key}, "", "no client's certificate"},
      {{.ca_file = ca, .server_name = std::string(256, 'x')}, "", "255 bytes"},
      {{.ca_file = ca + std::string(1, '\0')}, "", "NUL"},
  };
  for (const Case& each : cases) {
    // Nobody listens there: it is said without a connection.
    const ConnectionError error = refused({.host = "127.0.0.1", .port = 1, .tls = each.options});
    INFO(error.text());
    CHECK(error.permanent());
    CHECK(contains(error.text(), each.file));
    CHECK(contains(error.text(), each.why));
  }

  const std::string encrypted = made.encrypted(client);  // and nobody asks on the terminal
  const ConnectionError error =
      refused({.host = "127.0.0.1",
               .port = 1,
               .tls = TlsOptions{.certificate_file = client.certificate, .key_file = encrypted}});
  CHECK(error.permanent());
  CHECK(contains(error.text(), "password"));
}

TEST_CASE("EXTERNAL logs in as whom the client's certificate names", "[tls]") {
  const Certificate client = certificates().issue("tls-client", "");
  Endpoint endpoint = tls_broker().tls_endpoint();
  endpoint.mechanism = warren::AuthMechanism::external;

  SECTION("without a certificate the broker does not offer it") {
    const ConnectionError error = refused(endpoint);
    CHECK(error.permanent());
  }
  endpoint.tls->certificate_file = client.certificate;
  endpoint.tls->key_file = client.key;
  SECTION("a user whom the broker does not know") {
    const ConnectionError error = refused(endpoint);
    CHECK(error.permanent());
    CHECK(error.code() == 403);
  }
  SECTION("a user whom it knows") {
    tls_broker().ctl({"add_user", "tls-client", "unused"});
    tls_broker().ctl({"set_permissions", "tls-client", ".*", ".*", ".*"});
    works(endpoint);
    {
      Connection connection{endpoint, test_options()};
      const auto rows =
          tls_broker().list({"list_connections", "user", "auth_mechanism", "peer_cert_subject"});
      REQUIRE(rows.size() == 1);
      CHECK(rows[0] == std::vector<std::string>{"tls-client", "EXTERNAL", "CN=tls-client"});
    }
    // One file may hold both.
    std::string both;
    for (const std::string& file : {client.certificate, client.key}) {
      std::ifstream in(file);
      both.append(std::istreambuf_iterator<char>(in), {});
    }
    endpoint.tls->certificate_file = certificates().file("both.pem", both);
    endpoint.tls->key_file.clear();
    works(endpoint);
    tls_broker().ctl({"delete_user", "tls-client"});
  }
}

TEST_CASE("a client's certificate that the broker refuses, or misses, is a permanent error", "[tls]") {
  SECTION("from an authority unknown to it") {
    const Certificate client = certificates().issue_unknown("guest", "");
    Endpoint endpoint = tls_broker().tls_endpoint();
    endpoint.tls->certificate_file = client.certificate;
    endpoint.tls->key_file = client.key;
    const ConnectionError error = refused(endpoint);
    INFO(error.text());
    CHECK(error.permanent());
    CHECK(contains(error.text(), "the broker refused TLS: unknown CA"));
  }
  SECTION("missing") {
    const auto [version, why] = GENERATE(table<const char*, const char*>(
        {{"-tls1_2", "handshake failure"}, {"-tls1_3", "it requires a client's certificate"}}));
    const TlsPeer peer(certificates().issue("server", "DNS:localhost"),
                       {"-CAfile", certificates().ca(), "-Verify", "1", "-verify_return_error", version});
    const ConnectionError error = refused(peer.endpoint());
    INFO(error.text());
    CHECK(error.permanent());
    CHECK(contains(error.text(), std::string("the broker refused TLS: ") + why));
  }
}

TEST_CASE("the server name that is sent is the host's, or the one asked for, or none", "[tls]") {
  const Certificate server = certificates().self_signed("server", "DNS:localhost");
  const TlsPeer peer(server,
                     {"-servername", "x", "-cert2", server.certificate, "-key2", server.key, "-tlsextdebug"});
  std::size_t seen = 0;
  // The names that a connection sends, none of which gets further than the certificate.
  const auto names_sent = [&](const std::string& host, const std::optional<std::string>& server_name) {
    Endpoint endpoint = peer.endpoint(host);
    endpoint.tls->server_name = server_name;
    CHECK(refused(endpoint).permanent());
    std::string text;
    REQUIRE(eventually([&] { return (text = peer.output()).find("CONNECTION CLOSED", seen) != text.npos; }));
    std::string names;
    const std::string mark = "Hostname in TLS extension: \"";
    for (std::size_t at = seen; (at = text.find(mark, at)) != text.npos;) {
      at += mark.size();
      names += text.substr(at, text.find('"', at) - at) + ";";
    }
    seen = text.size();
    return names;
  };
  CHECK(names_sent("localhost", {}) == "localhost;");
  CHECK(names_sent("127.0.0.1", {}) == "");
  CHECK(names_sent("127.0.0.1", "broker.example") == "broker.example;");
  CHECK(names_sent("localhost", "") == "");
}

TEST_CASE("TLS 1.2 is the minimum", "[tls]") {
  const Certificate server = certificates().issue("server", "DNS:localhost");
  const TlsPeer old(server, {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"});
  const ConnectionError error = refused(old.endpoint());
  INFO(error.text());
  CHECK(error.permanent());
  CHECK(contains(error.text(), "protocol version"));
}

TEST_CASE("no TLS on that port, or nobody at all, is worth another try, and bounded", "[tls]") {
  SECTION("plain AMQP") {
    Endpoint endpoint = shared_broker().endpoint();
    endpoint.tls = TlsOptions{};
    const ConnectionError error = refused(endpoint);
    INFO(error.text());
    CHECK_FALSE(error.permanent());
    CHECK(contains(error.text(), "the TLS handshake failed: "));
  }
  SECTION("closed at once") {
    ScriptedPeer peer([](ScriptedPeer::Link& link) { link.reset(); });
    Endpoint endpoint = peer.endpoint();
    endpoint.tls = TlsOptions{};
    const ConnectionError error = refused(endpoint);
    INFO(error.text());
    CHECK_FALSE(error.permanent());
  }
  SECTION("silence in the handshake") {
    ScriptedPeer peer([](ScriptedPeer::Link& link) { link.wait_for_end(); });
    Endpoint endpoint = peer.endpoint();
    endpoint.tls = TlsOptions{};
    // Reading the system's authorities comes before the handshake, and a sanitizer is slow at it.
    CHECK(time_of([&] {
            const ConnectionError error = refused(endpoint, 3s);
            CHECK_FALSE(error.permanent());
            CHECK(contains(error.text(), "TLS handshake was not finished in time"));
          }) < 3s + slack);
  }
  SECTION("silence after the handshake") {
    const TlsPeer peer(certificates().issue("server", "DNS:localhost"));
    CHECK(time_of([&] { CHECK_FALSE(refused(peer.endpoint(), 500ms).permanent()); }) < 500ms + slack);
  }
  SECTION("nobody") {
    CHECK_FALSE(refused({.host = "127.0.0.1", .port = 1, .tls = TlsOptions{}}).permanent());
  }
}

TEST_CASE("a forked child that exits sends no farewell over the parent's TLS", "[tls]") {
  const TestQueue queue({}, tls_broker());
  const std::string url = "amqps://localhost:" + std::to_string(tls_broker().tls_endpoint().port) +
                          "?cacertfile=" + certificates().ca();
  for (const char* mode : {"fork", "fork_consuming"}) {
    CAPTURE(mode);
    const ChildResult result =
        run_child({WARREN_PROCESS_CHILD},
                  {{"WARREN_CHILD", mode}, {"WARREN_CHILD_QUEUE", queue.name()}, {"AMQP_URL", url}});
    CHECK(result.output.empty());
    CHECK(result.code == 0);
  }
}
