#include "wire/socket.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::wire {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& operation, std::string text) {
  throw ConnectionError({.operation = operation, .text = std::move(text), .scope = ErrorScope::connection});
}

std::string words(int error) { return std::error_code(error, std::system_category()).message(); }

[[noreturn]] void unreachable(const std::string& operation, const Address& address, int error) {
  if (error == ECONNREFUSED) fail(operation, fmt::format("{} refused the connection", address.text));
  fail(operation, fmt::format("{} can't be reached: {}", address.text, words(error)));
}

void set_option(int descriptor, int level, int option) noexcept {
  const int on = 1;
  ::setsockopt(descriptor, level, option, &on, sizeof on);  // the connection also works without the option
}

}  // namespace

Waited wait_by_poll(int descriptor, bool for_writing, Clock::time_point deadline) noexcept {
  constexpr std::chrono::milliseconds longest{60'000};
  pollfd polled{descriptor, static_cast<short>(for_writing ? POLLOUT : POLLIN), 0};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Waited::timed_out;
    if (::poll(&polled, 1, static_cast<int>(std::min(left, longest).count())) > 0) return Waited::ready;
  }
}

void await(const Wait& wait, int descriptor, bool for_writing, Clock::time_point deadline,
           const std::string& operation, std::string_view doing) {
  switch (wait ? wait(descriptor, for_writing, deadline) : wait_by_poll(descriptor, for_writing, deadline)) {
    case Waited::ready:
      return;
    case Waited::given_up:
      throw GivenUp();
    case Waited::timed_out:
      fail(operation, fmt::format("{} was not finished in time (connect_timeout)", doing));
  }
}

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Socket::Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Socket Socket::connect(const Address& address, Clock::time_point deadline, const Wait& wait,
                       const std::string& operation) {
  Socket socket(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int descriptor = socket.descriptor();
  if (descriptor < 0) fail(operation, fmt::format("a socket can't be opened: {}", words(errno)));
  set_option(descriptor, IPPROTO_TCP, TCP_NODELAY);
  set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address.bytes), address.size) == 0)
    return socket;
  // A connect of a non-blocking socket goes on after a signal interrupts it.
  if (errno != EINPROGRESS && errno != EINTR) unreachable(operation, address, errno);
  await(wait, descriptor, true, deadline, operation, fmt::format("connecting to {}", address.text));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) unreachable(operation, address, error);
  return socket;
}

}  // namespace warren::inline v0::wire
