#include "wire/transport.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <warren/version.hpp>

#include "wire/amqp.hpp"
#include "wire/resolver.hpp"
#include "wire/status.hpp"
#include "wire/table_codec.hpp"
#include "wire/tls.hpp"

namespace warren::inline v0::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t smallest_frame_max = 8'192;  // RabbitMQ 4.1's own minimum
constexpr std::size_t longest_name = 255;            // RabbitMQ's limit
// rabbitmq-c's deadlines are an int of milliseconds.
constexpr std::chrono::milliseconds longest_timeout = std::chrono::hours(24 * 24);

timeval until(Clock::time_point deadline) {
  const auto left = std::max(deadline - Clock::now(), Clock::duration(std::chrono::milliseconds(1)));
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(left).count();
  return {static_cast<time_t>(microseconds / 1'000'000), static_cast<suseconds_t>(microseconds % 1'000'000)};
}

[[noreturn]] void refuse(const std::string& operation, std::string text) {
  throw ConnectionError(
      {.operation = operation, .text = std::move(text), .scope = ErrorScope::connection, .permanent = true});
}

// What the broker may assume of this client (https://www.rabbitmq.com/docs/connections#capabilities).
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

// Whether the broker's capabilities say so (https://www.rabbitmq.com/docs/connections#capabilities).
bool announces(amqp_connection_state_t state, std::string_view capability) {
  const auto find = [](const amqp_table_t& table, std::string_view key) -> const amqp_field_value_t* {
    for (int i = 0; i < table.num_entries; ++i) {
      if (to_view(table.entries[i].key) == key) return &table.entries[i].value;
    }
    return nullptr;
  };
  const amqp_table_t* properties = amqp_get_server_properties(state);
  const amqp_field_value_t* all = properties == nullptr ? nullptr : find(*properties, "capabilities");
  if (all == nullptr || all->kind != AMQP_FIELD_KIND_TABLE) return false;
  const amqp_field_value_t* one = find(all->value.table, capability);
  return one != nullptr && one->kind == AMQP_FIELD_KIND_BOOLEAN && one->value.boolean != 0;
}

amqp_rpc_reply_t log_in(amqp_connection_state_t state, const Endpoint& endpoint, const LoginOptions& options,
                        const amqp_table_t& properties) {
  const int channel_max = options.channel_max;
  const int frame_max = static_cast<int>(options.frame_max);
  const int heartbeat =
      static_cast<int>(std::min<std::chrono::seconds::rep>(options.heartbeat.count(), 65'535));
  if (endpoint.mechanism == AuthMechanism::external) {
    // The identity is the certificate's; rabbitmq-c fails on an empty one.
    return amqp_login_with_properties(state, endpoint.vhost.c_str(), channel_max, frame_max, heartbeat,
                                      &properties, AMQP_SASL_METHOD_EXTERNAL, "guest");
  }
  return amqp_login_with_properties(state, endpoint.vhost.c_str(), channel_max, frame_max, heartbeat,
                                    &properties, AMQP_SASL_METHOD_PLAIN, endpoint.user.c_str(),
                                    endpoint.password.c_str());
}

// From here on the socket is read past rabbitmq-c: nothing may be left in its own buffers.
void empty_library_buffers(amqp_connection_state_t state, Clock::time_point deadline,
                           const std::string& operation) {
  while (amqp_frames_enqueued(state) != 0 || amqp_data_in_buffer(state) != 0 ||
         amqp_release_buffers_ok(state) == 0) {
    amqp_frame_t frame;
    if (Clock::now() >= deadline) check_status(AMQP_STATUS_TIMEOUT, operation);  // it never stops talking
    const timeval left = until(deadline);
    check_status(amqp_simple_wait_frame_noblock(state, &frame, &left), operation);
    // A node that shuts down may say so right behind its welcome.
    if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_CONNECTION_CLOSE_METHOD) {
      fail_closed(*static_cast<const amqp_connection_close_t*>(frame.payload.method.decoded), operation);
    }
    amqp_maybe_release_buffers(state);
  }
}

}  // namespace

struct Transport::State {
  // Throws where the status of a call of rabbitmq-c's is an error.
  void check(int status, const std::string& operation) const {
    if (status < 0 && tls) tls->explain(status, operation);
    check_status(status, operation);
  }

  std::unique_ptr<TlsSession> tls;  // null without TLS; outlives the connection
  ConnectionState connection;
  int descriptor = -1;
  Negotiated negotiated;
};

Transport::Transport(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Transport::~Transport() = default;

int Transport::descriptor() const noexcept { return state_->descriptor; }
const Negotiated& Transport::negotiated() const noexcept { return state_->negotiated; }

std::unique_ptr<Transport> Transport::connect(const Endpoint& endpoint, const LoginOptions& options) {
  const std::string operation = fmt::format("connect to {}:{}", endpoint.host, endpoint.effective_port());
  if (endpoint.tls) check_tls(endpoint, operation);
  for (const std::string* text : {&endpoint.host, &endpoint.vhost, &endpoint.user, &endpoint.password}) {
    if (text->find('\0') != std::string::npos)
      refuse(operation, "host, virtual host, user and password cannot hold a NUL byte");
  }
  for (const std::string* text : {&endpoint.vhost, &endpoint.user, &endpoint.password}) {
    if (text->size() > longest_name)
      refuse(operation, "virtual host, user and password are at most 255 bytes");
  }
  const Clock::time_point deadline =
      Clock::now() + std::clamp(options.timeout, std::chrono::milliseconds(1), longest_timeout);
  const auto addresses = resolve(endpoint.host, endpoint.effective_port(), deadline, operation);
  for (std::size_t i = 0;; ++i) {
    // An address that swallows packets must leave time for those behind it.
    const auto share = (deadline - Clock::now()) / static_cast<int>(addresses.size() - i);
    try {
      return connect(addresses[i], endpoint, options, Clock::now() + share, operation);
    } catch (const ConnectionError& error) {
      if (error.code() != 0 || error.permanent() || i + 1 == addresses.size()) throw;
    }
  }
}

std::unique_ptr<Transport> Transport::connect(const std::string& address, const Endpoint& endpoint,
                                              const LoginOptions& options, Clock::time_point deadline,
                                              const std::string& operation) {
  auto state = std::make_unique<State>();
  state->connection.reset(amqp_new_connection());
  if (!state->connection) throw std::bad_alloc();
  amqp_connection_state_t connection = state->connection.get();
  if (endpoint.tls) state->tls = make_tls_session(connection, endpoint, operation);
  amqp_socket_t* socket = state->tls ? state->tls->socket() : amqp_tcp_socket_new(connection);
  if (socket == nullptr) throw std::bad_alloc();

  timeval left = until(deadline);
  const int opened = amqp_socket_open_noblock(socket, address.c_str(), endpoint.effective_port(), &left);
  if (opened == AMQP_STATUS_SOCKET_ERROR) {
    if (state->tls) state->tls->explain(opened, operation);
    // All that rabbitmq-c says is "a socket error occurred".
    throw ConnectionError({.operation = operation,
                           .text = fmt::format("{} refused the connection, or can't be reached", address),
                           .scope = ErrorScope::connection});
  }
  state->check(opened, operation);
  if (state->tls) state->tls->take_output();
  left = until(deadline);
  check_status(amqp_set_handshake_timeout(connection, &left), operation);
  Pool pool;
  const FieldTable properties = client_properties(options.client_properties);
  const amqp_rpc_reply_t reply = log_in(connection, endpoint, options, to_amqp(properties, pool));
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) state->check(reply.library_error, operation);
  check_reply(reply, operation);
  empty_library_buffers(connection, deadline, operation);

  const int frame_max = amqp_get_frame_max(connection);
  if (frame_max < static_cast<int>(smallest_frame_max)) {
    refuse(operation,
           fmt::format("the negotiated frame_max is {} bytes, below {}", frame_max, smallest_frame_max));
  }
  state->negotiated.frame_max = static_cast<std::uint32_t>(frame_max);
  state->negotiated.channel_max = static_cast<std::uint16_t>(amqp_get_channel_max(connection));
  state->negotiated.heartbeat = std::chrono::seconds(amqp_get_heartbeat(connection));
  state->negotiated.takes_cancel_ok = announces(connection, "accept_consumer_cancel_ok");
  state->descriptor = amqp_get_sockfd(connection);
  if (state->tls) state->tls->take_over();
  return std::unique_ptr<Transport>(new Transport(std::move(state)));
}

bool Transport::direct_writes() const noexcept { return !state_->tls; }

bool Transport::wants_write(bool output_waits) const noexcept {
  return state_->tls ? state_->tls->wants_write(output_waits) : output_waits;
}

Transport::Result Transport::read(char* data, std::size_t size) noexcept {
  if (state_->tls) return state_->tls->read(data, size);
  for (;;) {
    const ssize_t count = ::recv(state_->descriptor, data, size, MSG_DONTWAIT);
    if (count > 0) return {Status::ok, static_cast<std::size_t>(count)};
    if (count == 0) return {Status::closed, 0};
    if (errno == EINTR) continue;
    return {errno == EAGAIN || errno == EWOULDBLOCK ? Status::would_block : Status::closed, 0};
  }
}

Transport::Result Transport::write(std::span<const std::string_view> chunks) noexcept {
  if (state_->tls) return state_->tls->write(chunks.front().data(), chunks.front().size());
  std::array<iovec, 16> parts;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = std::min(chunks.size(), parts.size());
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    parts[i] = {const_cast<char*>(chunks[i].data()), chunks[i].size()};  // POSIX has one type for both ways
  }
  for (;;) {
    const ssize_t count = ::sendmsg(state_->descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) return {Status::ok, static_cast<std::size_t>(count)};
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || errno == EAGAIN || errno == EWOULDBLOCK) return {Status::would_block, 0};
    // Of a link that would live on, what is dropped would be missing in the middle.
    if (errno != EPIPE && errno != ECONNRESET) ::shutdown(state_->descriptor, SHUT_RDWR);
    return {Status::closed, 0};
  }
}

}  // namespace warren::inline v0::wire
