#include "wire/transport.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <warren/error.hpp>

#include "values/limits.hpp"
#include "wire/resolver.hpp"
#include "wire/tls.hpp"

namespace warren::inline v0::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t longest_credentials = std::size_t{64} << 10;  // the broker's own limit is lower
// This limit keeps the clocks from overflowing.
constexpr std::chrono::milliseconds longest_timeout = std::chrono::hours(24 * 24);

[[noreturn]] void refuse(const std::string& operation, std::string text) {
  throw ConnectionError(
      {.operation = operation, .text = std::move(text), .scope = ErrorScope::connection, .permanent = true});
}

}  // namespace

struct Transport::State {
  Socket socket;
  std::unique_ptr<TlsSession> tls;  // null without TLS
  Negotiated negotiated;
  std::string early;  // bytes that followed the login, to be read first
};

Transport::Transport(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Transport::~Transport() = default;

int Transport::descriptor() const noexcept { return state_->socket.descriptor(); }
const Negotiated& Transport::negotiated() const noexcept { return state_->negotiated; }

std::unique_ptr<Transport> Transport::connect(const Endpoint& endpoint, const LoginOptions& options) {
  const std::string operation = fmt::format("connect to {}:{}", endpoint.host, endpoint.effective_port());
  if (endpoint.tls) check_tls(endpoint, operation);
  for (const std::string* text : {&endpoint.host, &endpoint.vhost, &endpoint.user, &endpoint.password}) {
    if (text->find('\0') != std::string::npos)
      refuse(operation, "host, virtual host, user and password cannot hold a NUL byte");
  }
  if (endpoint.vhost.size() > max_short_string) refuse(operation, "the virtual host is above 255 bytes");
  if (endpoint.user.size() + endpoint.password.size() > longest_credentials)
    refuse(operation, "user and password are together above 64 KiB");
  const Clock::time_point deadline =
      Clock::now() + std::clamp(options.timeout, std::chrono::milliseconds(1), longest_timeout);
  const auto addresses = resolve(endpoint.host, endpoint.effective_port(), deadline, options.wait, operation);
  for (std::size_t i = 0;; ++i) {
    // An address that does not answer must leave time for the addresses after it.
    const auto share = (deadline - Clock::now()) / static_cast<int>(addresses.size() - i);
    try {
      return connect(addresses[i], endpoint, options, Clock::now() + share, operation);
    } catch (const ConnectionError& error) {
      if (error.code() != 0 || error.permanent() || i + 1 == addresses.size()) throw;
    }
  }
}

std::unique_ptr<Transport> Transport::connect(const Address& address, const Endpoint& endpoint,
                                              const LoginOptions& options, Clock::time_point deadline,
                                              const std::string& operation) {
  std::unique_ptr<Transport> transport(new Transport(std::make_unique<State>()));
  State& state = *transport->state_;
  if (endpoint.tls) state.tls = make_tls_session(endpoint, operation);
  state.socket = Socket::connect(address, deadline, options.wait, operation);
  if (state.tls) state.tls->shake_hands(transport->descriptor(), deadline, options.wait);
  Login login(endpoint, options.proposal, operation);
  transport->log_in(login, deadline, options.wait, operation);
  state.negotiated = login.negotiated();
  return transport;
}

// True once all bytes were written. An error is not reported here: the reader detects it.
bool Transport::send(Bytes& output) noexcept {
  while (!output.empty()) {
    const std::string_view chunk(output.data(), output.size());
    const Result result = write({&chunk, 1});
    if (result.status != Status::ok) return result.status == Status::closed;
    output.erase(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(result.bytes));
  }
  return true;
}

void Transport::log_in(Login& login, Clock::time_point deadline, const Wait& wait,
                       const std::string& operation) {
  constexpr std::size_t chunk = 16 * 1024;
  std::string& input = state_->early;
  bool more_to_read = false;
  for (;;) {
    const bool output_waits = !send(login.output());
    if (login.done() && !output_waits) return;
    if (!more_to_read || Clock::now() >= deadline) {
      await(wait, descriptor(), wants_write(output_waits), deadline, operation,
            fmt::format("the login (waiting for {})", login.awaited()));
    }
    const std::size_t before = input.size();
    input.resize(before + chunk);
    const Result got = read_socket(input.data() + before, chunk);
    input.resize(before + got.bytes);
    more_to_read = got.bytes == chunk;
    if (got.status == Status::closed) {
      if (state_->tls) state_->tls->explain();
      throw ConnectionError(
          {.operation = operation, .text = login.closed_text(), .scope = ErrorScope::connection});
    }
    std::string_view rest = input;
    try {
      login.receive(rest);
    } catch (...) {
      send(login.output());  // the login's last answer
      throw;
    }
    input.erase(0, input.size() - rest.size());
  }
}

const char* Transport::fault() const noexcept { return state_->tls ? state_->tls->fault() : nullptr; }

bool Transport::direct_writes() const noexcept { return !state_->tls; }

bool Transport::wants_write(bool output_waits) const noexcept {
  return state_->tls ? state_->tls->wants_write(output_waits) : output_waits;
}

Transport::Result Transport::read(char* data, std::size_t size) noexcept {
  if (std::string& early = state_->early; !early.empty()) {
    const std::size_t count = std::min(size, early.size());
    early.copy(data, count);
    early.erase(0, count);
    if (count == size) return {Status::ok, count};
    const Result more = read_socket(data + count, size - count);
    return {Status::ok, count + more.bytes};  // the next read returns the end again
  }
  return read_socket(data, size);
}

Transport::Result Transport::read_socket(char* data, std::size_t size) noexcept {
  if (state_->tls) return state_->tls->read(data, size);
  for (;;) {
    const ssize_t count = ::recv(descriptor(), data, size, MSG_DONTWAIT);
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
    parts[i] = {const_cast<char*>(chunks[i].data()), chunks[i].size()};  // iovec is for reads and writes
  }
  for (;;) {
    const ssize_t count = ::sendmsg(descriptor(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) return {Status::ok, static_cast<std::size_t>(count)};
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || errno == EAGAIN || errno == EWOULDBLOCK) return {Status::would_block, 0};
    // The dropped bytes would be missing in the middle if the connection lived on, so it must end.
    if (errno != EPIPE && errno != ECONNRESET) ::shutdown(descriptor(), SHUT_RDWR);
    return {Status::closed, 0};
  }
}

}  // namespace warren::inline v0::wire
