#include <poll.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include <warren/error.hpp>

#include "support/catch.hpp"
#include "wire/frame.hpp"
#include "wire/transport.hpp"

using warren::ConnectionError;
using warren::Endpoint;
using warren::wire::LoginOptions;
using warren::wire::Transport;
using namespace std::chrono_literals;

namespace {

Endpoint broker() {
  const char* url = std::getenv("AMQP_URL");
  if (url == nullptr) FAIL("AMQP_URL is not set: run tests/run.sh, which starts a private broker");
  return warren::Uri::parse(url).endpoint;
}

// The error that connecting ends with.
ConnectionError refused(const Endpoint& endpoint, const LoginOptions& options = {}) {
  try {
    (void)Transport::connect(endpoint, options);
  } catch (const ConnectionError& error) {
    return error;
  }
  throw std::logic_error("connected where it must not");
}

}  // namespace

TEST_CASE("a login agrees on the smaller of both sides' limits") {
  const auto transport =
      Transport::connect(broker(), {.proposal = {.heartbeat = 7s, .frame_max = 65'536, .channel_max = 100}});
  CHECK(transport->descriptor() >= 0);
  CHECK(transport->negotiated().heartbeat == 7s);
  CHECK(transport->negotiated().frame_max == 65'536);
  CHECK(transport->negotiated().channel_max == 100);
}

TEST_CASE("a wrong password and an unknown vhost are permanent and keep their code") {
  Endpoint wrong_password = broker();
  wrong_password.password = "not it";
  const ConnectionError access_refused = refused(wrong_password);
  CHECK(access_refused.code() == 403);
  CHECK(access_refused.permanent());
  CHECK(std::string(access_refused.what()).find("not it") == std::string::npos);

  Endpoint unknown_vhost = broker();
  unknown_vhost.vhost = "there is none";
  const ConnectionError no_vhost = refused(unknown_vhost);
  CHECK(no_vhost.code() == 530);
  CHECK(no_vhost.permanent());
}

TEST_CASE("a frame_max below 8192 is refused with a clear error") {
  const ConnectionError error = refused(broker(), {.proposal = {.frame_max = 4'096}});
  CHECK(error.permanent());
  CHECK(error.text().find("4096") != std::string::npos);
}

TEST_CASE("where nobody listens the error is no permanent one, and names the address") {
  Endpoint nobody = broker();
  nobody.port = 1;
  const ConnectionError error = refused(nobody);
  CHECK_FALSE(error.permanent());
  CHECK(error.operation() == "connect to " + nobody.host + ":1");
  CHECK(error.scope() == warren::ErrorScope::connection);
  CHECK(error.text().find("refused the connection") != std::string::npos);
}

TEST_CASE("the broker's heartbeats arrive as frames, and what it does not understand ends the connection") {
  const auto transport = Transport::connect(broker(), {.proposal = {.heartbeat = 1s}});
  char buffer[4'096];
  CHECK(transport->read(buffer, sizeof buffer).status == Transport::Status::would_block);
  pollfd readable{transport->descriptor(), POLLIN, 0};
  REQUIRE(::poll(&readable, 1, 5'000) == 1);
  const auto got = transport->read(buffer, sizeof buffer);
  REQUIRE(got.status == Transport::Status::ok);
  std::string_view input(buffer, got.bytes);
  const auto frame = warren::wire::next_frame(input, transport->negotiated().frame_max);
  REQUIRE(frame.has_value());
  CHECK(frame->type == warren::wire::FrameType::heartbeat);

  const std::array<std::string_view, 3> garbage{"garbage", ", no ", "frame"};
  CHECK(transport->write(garbage).bytes == 17);
  Transport::Result last;
  do {
    REQUIRE(::poll(&readable, 1, 10'000) == 1);
    last = transport->read(buffer, sizeof buffer);
  } while (last.status != Transport::Status::closed);
  CHECK(last.bytes == 0);
}
