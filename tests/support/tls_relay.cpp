#include "support/tls_relay.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <tuple>

namespace support {
namespace {

constexpr std::size_t most_held = 256 * 1024;

struct SslFree {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

// What is written meanwhile goes out in one segment.
void set_cork(const Descriptor& socket, int on) {
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

// Counts the peer's KeyUpdate messages.
void on_message(int sent, int, int type, const void* data, std::size_t size, SSL*, void* counter) {
  if (sent == 0 && type == SSL3_RT_HANDSHAKE && size > 0 &&
      *static_cast<const unsigned char*>(data) == SSL3_MT_KEY_UPDATE) {
    ++*static_cast<std::atomic<int>*>(counter);
  }
}

}  // namespace

void TlsRelay::Free::operator()(void* context) const noexcept {
  SSL_CTX_free(static_cast<SSL_CTX*>(context));
}

TlsRelay::TlsRelay(const Certificate& certificate, warren::Endpoint broker)
    : broker_(std::move(broker)), context_(SSL_CTX_new(TLS_server_method())) {
  auto* context = static_cast<SSL_CTX*>(context_.get());
  if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_use_certificate_file(context, certificate.certificate.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, certificate.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    throw std::runtime_error("can't set up the TLS relay");
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_msg_callback(context, on_message);
  SSL_CTX_set_msg_callback_arg(context, &keys_changed_);
  std::tie(listener_, port_) = listen_here();
  thread_ = std::thread([this] { run(); });
}

TlsRelay::~TlsRelay() {
  stopping_ = true;
  thread_.join();
}

warren::Endpoint TlsRelay::endpoint() const {
  return {.host = "localhost", .port = port_, .tls = warren::TlsOptions{.ca_file = certificates().ca()}};
}

void TlsRelay::run() {
  // OpenSSL writes to a client that has gone: that is no reason for the tests to end.
  sigset_t broken_pipe;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  while (!stopping_) {
    pollfd readable{listener_.get(), POLLIN, 0};
    if (::poll(&readable, 1, 20) <= 0) continue;
    const Descriptor client = accept_from(listener_);
    if (!client) continue;
    const std::unique_ptr<SSL, SslFree> ssl(SSL_new(static_cast<SSL_CTX*>(context_.get())));
    SSL_set_fd(ssl.get(), client.get());
    SSL_set_accept_state(ssl.get());
    relay(client, ssl.get());
  }
}

void TlsRelay::relay(const Descriptor& client, void* opaque) {
  auto* ssl = static_cast<SSL*>(opaque);
  const Descriptor broker = connect_to(broker_.host, broker_.effective_port());
  std::string to_client;
  std::string to_broker;
  std::string buffer(64 * 1024, '\0');
  std::size_t since_change = 0;
  bool closed = false;
  const auto failed = [ssl](int result) {
    const int error = SSL_get_error(ssl, result);
    return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
  };
  while (!stopping_) {
    pollfd ends[2] = {{client.get(), 0, 0}, {broker.get(), 0, 0}};
    if (to_broker.size() < most_held) ends[0].events |= POLLIN;
    if (to_client.size() < most_held) ends[1].events |= POLLIN;
    if (!to_client.empty()) ends[0].events |= POLLOUT;
    if (!to_broker.empty()) ends[1].events |= POLLOUT;
    if (closed) ends[0].fd = ends[1].fd = -1;
    ::poll(ends, 2, flood_keys_ ? 0 : 20);
    if (say_close_.exchange(false)) {
      set_cork(client, 1);
      SSL_write(ssl, "\x08\0\0\0\0\0\0\xCE", 8);
      SSL_shutdown(ssl);
      set_cork(client, 0);
      closed = true;
    }
    if (closed) continue;
    if (flood_keys_) {
      if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1) ERR_clear_error();
      const int result = SSL_do_handshake(ssl);
      if (result != 1 && failed(result)) return;
      continue;
    }

    while (to_broker.size() < most_held) {
      const int count = SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size()));
      if (count <= 0 && failed(count)) return;
      if (count <= 0) break;
      to_broker.append(buffer, 0, static_cast<std::size_t>(count));
    }
    if (to_client.size() < most_held) {
      const ssize_t count = ::recv(broker.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return;
      if (count > 0) to_client.append(buffer, 0, static_cast<std::size_t>(count));
    }
    if (!to_client.empty() && SSL_is_init_finished(ssl) == 1) {
      const int count = SSL_write(ssl, to_client.data(), static_cast<int>(to_client.size()));
      if (count <= 0 && failed(count)) return;
      if (count > 0) {
        to_client.erase(0, static_cast<std::size_t>(count));
        since_change += static_cast<std::size_t>(count);
        if (interval_ > 0 && since_change >= interval_) {
          if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1) since_change = 0;
          ERR_clear_error();  // refused while the last one is under way, which SSL_get_error would report
        }
      }
    }
    if (!to_broker.empty()) {
      const ssize_t count =
          ::send(broker.get(), to_broker.data(), to_broker.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count < 0 && errno != EAGAIN && errno != EINTR) return;
      if (count > 0) to_broker.erase(0, static_cast<std::size_t>(count));
    }
  }
}

}  // namespace support
