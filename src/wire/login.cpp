#include "wire/login.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <warren/error.hpp>

#include "wire/status.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr std::size_t smallest_initial_frame_max = 4'096;  // RabbitMQ before 4.1
// Of connection.start-ok: frame, method, lengths, "PLAIN" or "EXTERNAL", "en_US", and what rabbitmq-c adds to
// the client's properties (copyright, information).
constexpr std::size_t around_properties = 256;

// For a port of its own, what RabbitMQ expects there.
std::string_view use_of(std::uint16_t port) {
  switch (port) {
    case 80:
    case 443:
    case 15'671:
    case 15'672:
      return "HTTP (the management's, perhaps)";
    case 5'671:
      return "AMQP with TLS";
    case 5'672:
      return "AMQP without TLS";
    case 5'551:
    case 5'552:
      return "the stream protocol";
    case 1'883:
    case 8'883:
      return "MQTT";
    case 61'613:
    case 61'614:
      return "STOMP";
    case 4'369:
    case 25'672:
      return "Erlang's own distribution";
    default:
      return {};
  }
}

std::string port_hint(const Endpoint& endpoint) {
  const std::uint16_t port = endpoint.effective_port();
  if (port == (endpoint.tls ? 5'671 : 5'672) || use_of(port).empty()) return {};
  return fmt::format(" Port {} is usually for {}.", port, use_of(port));
}

// How to reach AMQP from an endpoint that meets something else.
const char* other_way(const Endpoint& endpoint) {
  return endpoint.tls
             ? "AMQP with TLS is on port 5671, as a rule"
             : "AMQP without TLS is on port 5672, as a rule; with TLS it is on 5671, and needs amqps:// or "
               "Endpoint::tls";
}

std::string before_start(int status, const Endpoint& endpoint) {
  switch (status) {
    case AMQP_STATUS_CONNECTION_CLOSED:
    case AMQP_STATUS_SOCKET_ERROR:
      return fmt::format(
          "the server closed the connection before it said a word of AMQP. {}; a proxy without a broker "
          "behind it does "
          "the same.{}",
          endpoint.tls ? "It is not a broker's port, perhaps: AMQP with TLS is on port 5671, as a rule"
                       : "A port that expects TLS does so: use amqps:// or Endpoint::tls, and port 5671",
          port_hint(endpoint));
    case AMQP_STATUS_BAD_AMQP_DATA:
      return fmt::format(
          "the server's answer is not AMQP, but that of another protocol (HTTP or TLS, perhaps). {}.{}",
          other_way(endpoint), port_hint(endpoint));
    case AMQP_STATUS_WRONG_METHOD:
      return "the server answered AMQP 0-9-1 with another version of the protocol (AMQP 1.0, perhaps), or "
             "out of turn: "
             "warren needs a broker that speaks AMQP 0-9-1";
    case AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION:
      return "the server speaks another version of the protocol than AMQP 0-9-1, which warren needs";
    case AMQP_STATUS_TIMEOUT:
      return fmt::format(
          "the server took the connection, but said nothing within the time for connecting: it is "
          "overloaded, or not a "
          "broker for {}.{}",
          endpoint.tls ? "AMQP with TLS" : "AMQP without TLS", port_hint(endpoint));
    default:
      return {};
  }
}

std::string after_start(int status, const Endpoint& endpoint, std::size_t login_bytes) {
  switch (status) {
    case AMQP_STATUS_CONNECTION_CLOSED:
    case AMQP_STATUS_SOCKET_ERROR: {
      std::string text = "the broker closed the connection during the login, and its log says why";
      if (login_bytes > smallest_initial_frame_max && endpoint.mechanism == AuthMechanism::plain) {
        text += fmt::format(
            ". User and password make a frame of about {} bytes: RabbitMQ takes 4096 before 4.1, and 8192 "
            "from then on, "
            "unless initial_frame_max in its configuration says otherwise",
            login_bytes);
      }
      return text;
    }
    case AMQP_STATUS_WRONG_METHOD:
      return "the broker answered out of turn during the login";
    case AMQP_STATUS_TIMEOUT:
      return "the broker did not finish the login within the time for connecting";
    default:
      return {};
  }
}

}  // namespace

std::size_t login_size(const Endpoint& endpoint, const amqp_table_t& properties) {
  std::vector<char> room(longest_login);
  amqp_bytes_t target{};
  target.bytes = room.data();
  target.len = room.size();
  std::size_t size = 0;
  amqp_table_t table = properties;
  if (amqp_encode_table(target, &table, &size) != AMQP_STATUS_OK) size = longest_login;
  if (endpoint.mechanism == AuthMechanism::plain) size += endpoint.user.size() + endpoint.password.size();
  return size + around_properties;
}

void fail_login(int status, amqp_connection_state_t connection, const Endpoint& endpoint,
                std::size_t login_bytes, const std::string& operation) {
  // What connection.start brought; without it the server said no AMQP.
  const bool started = amqp_get_server_properties(connection)->num_entries > 0;
  std::string text = started ? after_start(status, endpoint, login_bytes) : before_start(status, endpoint);
  if (text.empty()) check_status(status, operation);
  throw ConnectionError({.operation = operation,
                         .text = std::move(text),
                         .scope = ErrorScope::connection,
                         .permanent = status == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION});
}

}  // namespace warren::inline v0::wire
