#include "wire/login.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <warren/error.hpp>
#include <warren/version.hpp>

#include "wire/amqp.hpp"
#include "wire/byte_reader.hpp"
#include "wire/method_frame.hpp"
#include "wire/status.hpp"
#include "wire/table_codec.hpp"

namespace warren::inline v0::wire {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t smallest_frame_max = 8'192;  // RabbitMQ 4.1's own minimum
constexpr std::string_view protocol_header = "AMQP\0\0\x09\x01"sv;
constexpr std::size_t smallest_initial_frame_max = 4'096;  // RabbitMQ's before 4.1
constexpr std::size_t shown_bytes = 8;                     // of data that is not AMQP

// The methods of the handshake. They are never sent at another time.
constexpr std::uint32_t start = 0x000A000A;
constexpr std::uint32_t secure = 0x000A0014;
constexpr std::uint32_t tune = 0x000A001E;
constexpr std::uint32_t open_ok = 0x000A0029;

// The client properties, with the features that the broker may rely on
// (https://www.rabbitmq.com/docs/connections#capabilities).
FieldTable client_properties(FieldTable properties) {
  const auto set_default = [&](const char* key, const char* value) {
    if (!properties.contains(key)) properties.set(key, value);
  };
  set_default("product", "warren");
  set_default("version", WARREN_VERSION_STRING);
  set_default("platform", "C++");
  properties.set("capabilities", FieldTable{{"publisher_confirms", true},
                                            {"basic.nack", true},
                                            {"consumer_cancel_notify", true},
                                            {"connection.blocked", true},
                                            {"exchange_exchange_bindings", true},
                                            {"authentication_failure_close", true}});
  return properties;
}

// Whether the broker's properties announce the capability.
bool announces(const FieldTable& server_properties, std::string_view capability) {
  const FieldValue* all = server_properties.find("capabilities");
  const FieldTable* capabilities = all == nullptr ? nullptr : all->get_if<FieldTable>();
  const FieldValue* one = capabilities == nullptr ? nullptr : capabilities->find(capability);
  const bool* value = one == nullptr ? nullptr : one->get_if<bool>();
  return value != nullptr && *value;
}

bool names(std::string_view list, std::string_view name) noexcept {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(' '), list.size());
    if (list.substr(0, end) == name) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

// The lower one of two limits; 0 means no limit.
template <typename Number>
Number lower(Number ours, Number theirs) noexcept {
  return ours == 0 ? theirs : theirs == 0 ? ours : std::min(ours, theirs);
}

// The usual purpose of a port of RabbitMQ or of a related service; empty if it is unknown.
std::string_view use_of(std::uint16_t port) noexcept {
  switch (port) {
    case 80:
    case 443:
    case 15'671:
    case 15'672:
      return "HTTP (the management page)";
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

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes.substr(0, shown_bytes)) {
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned char>(byte));
  }
  return text;
}

}  // namespace

Login::Login(const Endpoint& endpoint, const Proposal& proposal, std::string operation)
    : endpoint_(endpoint), proposal_(proposal), operation_(std::move(operation)) {
  output_.assign(protocol_header.begin(), protocol_header.end());
}

void Login::fail(std::string text, bool permanent) const {
  throw ConnectionError({.operation = operation_,
                         .text = std::move(text),
                         .scope = ErrorScope::connection,
                         .permanent = permanent});
}

std::string_view Login::awaited() const noexcept {
  switch (step_) {
    case Step::start:
      return "connection.start";
    case Step::tune:
      return "the answer to the credentials (connection.tune)";
    case Step::open_ok:
      return "the answer for the virtual host (connection.open-ok)";
    default:
      return "nothing";
  }
}

std::string Login::port_hint() const {
  const std::uint16_t port = endpoint_.effective_port();
  const std::string_view use = use_of(port);
  if (use.empty() || port == (endpoint_.tls ? 5'671 : 5'672)) return {};
  return fmt::format(". Port {} is usually for {}", port, use);
}

std::string Login::closed_text() const {
  if (!has_begun_) {
    return fmt::format(
        "the connection was closed before a word of AMQP came: {}, or that of a proxy without a "
        "broker behind it{}",
        endpoint_.tls ? "this is perhaps no broker's port (AMQP with TLS is usually on 5671)"
                      : "this may be a port that expects TLS (amqps://, usually 5671)",
        port_hint());
  }
  std::string text =
      fmt::format("the connection was closed before {} came; the broker's log says why", awaited());
  if (step_ == Step::tune && login_bytes_ > smallest_initial_frame_max) {
    text += fmt::format(
        ". User, password and client properties make a frame of {} bytes: RabbitMQ takes 4096 before "
        "4.1 and 8192 since, unless its initial_frame_max says otherwise",
        login_bytes_);
  }
  return text;
}

void Login::check_protocol(std::string_view input) const {
  const auto begins = [&](std::string_view words) { return input.starts_with(words); };
  const bool frame = input.front() == static_cast<char>(FrameType::method);
  if (frame || (protocol_header.starts_with(input.substr(0, 4)) && input.size() < protocol_header.size()))
    return;  // a method frame, or too few bytes to tell
  if (begins("AMQP")) {
    fail(fmt::format(
        "the server speaks another version of the protocol ({}) than AMQP 0-9-1, which warren needs",
        hexadecimal(input.substr(4))));
  }
  if (begins("HTTP/")) {
    fail("an HTTP server answered: this may be the port of the management page or of a proxy" + port_hint());
  }
  if (begins("SSH-")) fail("an SSH server answered: this is not a broker's port");
  if (begins("\x15\x03") || begins("\x16\x03")) {
    fail(
        "a TLS server answered: this may be the broker's port for TLS. Use amqps, or the port for plain TCP" +
        port_hint());
  }
  fail(fmt::format("what answered speaks no AMQP 0-9-1 (it began with the bytes {}){}", hexadecimal(input),
                   port_hint()));
}

void Login::receive(std::string_view& input) {
  if (input.empty()) return;
  if (!has_begun_) {
    check_protocol(input);
    has_begun_ = input.front() == static_cast<char>(FrameType::method);
    if (!has_begun_) return;
  }
  try {
    while (!done()) {
      const std::size_t before = input.size();
      const auto frame = next_frame(input, most_of_frame);
      received_ += before - input.size();
      if (received_ + (frame ? 0 : input.size()) > most_bytes) {
        fail(fmt::format("the broker broke the protocol: more than {} bytes before the login was done",
                         most_bytes));
      }
      if (!frame) return;
      on_frame(*frame);
    }
  } catch (const MalformedFrame& fault) {
    fail(fmt::format("the broker broke the protocol during the login: {}", fault.what()));
  }
}

void Login::on_frame(const Frame& frame) {
  if (frame.type == FrameType::heartbeat) return;
  if (frame.type != FrameType::method || frame.channel != 0)
    throw MalformedFrame("a frame that is none of the handshake's");
  ByteReader reader(frame.payload);
  const auto id = reader.number<std::uint32_t>();
  if (id == id::connection_close) {
    const InboundMethod close = decoder_.decode(frame.payload);
    connection_close_ok(output_);
    throw ConnectionError({.operation = operation_,
                           .code = close.code,
                           .text = std::string(close.text),
                           .scope = ErrorScope::connection,
                           .permanent = is_permanent_close(close.code, close.text)});
  }
  if (id == start && step_ == Step::start) return on_start(reader.rest());
  if (id == tune && step_ == Step::tune) return on_tune(reader.rest());
  if (id == open_ok && step_ == Step::open_ok) {
    step_ = Step::done;
    return;
  }
  if (id == secure && step_ == Step::tune)
    fail("the broker asks for more than user and password (connection.secure)", true);
  throw MalformedFrame(fmt::format("method {:#010x} came in place of {}", id, awaited()));
}

void Login::on_start(std::string_view arguments) {
  ByteReader reader(arguments);
  const auto major = reader.number<std::uint8_t>();
  const auto minor = reader.number<std::uint8_t>();
  if (major != 0 || minor != 9)
    fail(fmt::format("the server speaks another version of the protocol (AMQP {}-{}) than AMQP 0-9-1", major,
                     minor));
  decode_table(reader.long_string(), server_properties_);
  negotiated_.takes_cancel_ok = announces(server_properties_, "accept_consumer_cancel_ok");
  const std::string_view mechanisms = reader.long_string();
  const bool external = endpoint_.mechanism == AuthMechanism::external;
  const std::string_view mechanism = external ? "EXTERNAL" : "PLAIN";
  if (!names(mechanisms, mechanism)) {
    fail(fmt::format("the broker does not offer the login mechanism {}", mechanism), true);
  }
  // With EXTERNAL, the certificate contains the identity.
  std::string response;
  if (!external) response = '\0' + endpoint_.user + '\0' + endpoint_.password;
  const FieldTable properties = client_properties(proposal_.client_properties);
  Pool pool;
  amqp_connection_start_ok_t method{};
  method.client_properties = to_amqp(properties, pool);
  method.mechanism = to_bytes(mechanism);
  method.response = to_bytes(response);
  method.locale = to_bytes("en_US");
  const std::size_t before = output_.size();
  append_method(output_, 0, AMQP_CONNECTION_START_OK_METHOD, &method);
  login_bytes_ = output_.size() - before;
  step_ = Step::tune;
}

void Login::on_tune(std::string_view arguments) {
  ByteReader reader(arguments);
  const auto channel_max = reader.number<std::uint16_t>();
  const auto frame_max = reader.number<std::uint32_t>();
  const auto heartbeat = reader.number<std::uint16_t>();
  negotiated_.channel_max = lower(proposal_.channel_max, channel_max);
  if (negotiated_.channel_max == 0) negotiated_.channel_max = std::numeric_limits<std::uint16_t>::max();
  negotiated_.frame_max = lower(proposal_.frame_max, frame_max);
  const auto wanted = static_cast<std::uint16_t>(std::min<std::chrono::seconds::rep>(
      proposal_.heartbeat.count(), std::numeric_limits<std::uint16_t>::max()));
  // Heartbeats are off only if this client chose so: a broker that proposes none still gets heartbeats and
  // sends them.
  negotiated_.heartbeat =
      std::chrono::seconds(wanted == 0 || heartbeat == 0 ? wanted : std::min(wanted, heartbeat));
  if (negotiated_.frame_max != 0 && negotiated_.frame_max < smallest_frame_max) {
    fail(fmt::format("the negotiated frame_max is {} bytes, below {}", negotiated_.frame_max,
                     smallest_frame_max),
         true);
  }
  amqp_connection_tune_ok_t tuned{};
  tuned.channel_max = negotiated_.channel_max;
  tuned.frame_max = negotiated_.frame_max;
  tuned.heartbeat = static_cast<std::uint16_t>(negotiated_.heartbeat.count());
  append_method(output_, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &tuned);
  amqp_connection_open_t open{};
  open.virtual_host = to_bytes(endpoint_.vhost);
  append_method(output_, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
  step_ = Step::open_ok;
}

}  // namespace warren::inline v0::wire
