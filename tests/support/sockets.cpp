#include "support/sockets.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace support {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

sockaddr_in address_of(const char* address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  if (::inet_pton(AF_INET, address, &result.sin_addr) != 1)
    throw std::invalid_argument("not an IPv4 address");
  return result;
}

void set_up(int socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

void Descriptor::close() noexcept {
  if (value_ >= 0) ::close(std::exchange(value_, -1));
}

void Descriptor::reset() noexcept {
  const linger at_once{1, 0};
  if (value_ >= 0) ::setsockopt(value_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

std::pair<Descriptor, std::uint16_t> listen_here() {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) fail("socket");
  sockaddr_in address = address_of("127.0.0.1", 0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), generic, size) != 0) fail("bind");
  if (::listen(listener.get(), 64) != 0) fail("listen");
  if (::getsockname(listener.get(), generic, &size) != 0) fail("getsockname");
  return {std::move(listener), ntohs(address.sin_port)};
}

Descriptor accept_from(const Descriptor& listener) {
  Descriptor socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket) set_up(socket.get());
  return socket;
}

Descriptor connect_to(const std::string& address, std::uint16_t port) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) fail("socket");
  const sockaddr_in target = address_of(address.c_str(), port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) return {};
  set_up(socket.get());
  return socket;
}

std::pair<Descriptor, Descriptor> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail("pipe");
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

}  // namespace support
