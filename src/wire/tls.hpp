#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <warren/uri.hpp>

#include "wire/socket.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::wire {

/// TLS on a non-blocking socket: it performs the handshake, then reads and writes.
///
/// It trusts the system's authorities or those of a file, and requires TLS 1.2 at least. It sends the host's
/// name (SNI), and checks the certificate for the host's name or address. A refused certificate ends the
/// handshake. The errors name the cause.
///
/// One thread at a time may use it. The socket must outlive it.
class TlsSession {
 public:
  virtual ~TlsSession() = default;

  /// Takes a connected socket, and blocks until the handshake is done, at most until the deadline. Must be
  /// called once.
  /// @throws ConnectionError  permanent if another attempt would fail for this reason again
  /// @throws GivenUp  `wait` gave up
  virtual void shake_hands(int descriptor, std::chrono::steady_clock::time_point deadline,
                           const Wait& wait) = 0;
  /// Throws TLS's reason why the peer closed the connection; returns if TLS knows none.
  virtual void explain() const = 0;

  /// These functions behave like the Transport's functions of these names.
  [[nodiscard]] virtual Transport::Result read(char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual Transport::Result write(const char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual bool wants_write(bool output_waits) const noexcept = 0;
  [[nodiscard]] virtual const char* fault() const noexcept = 0;
};

/// @throws ConnectionError  permanent: this build has no TLS, or the endpoint's TlsOptions are invalid
void check_tls(const Endpoint& endpoint, const std::string& operation);

/// Makes a session for the endpoint. It reads the files, and needs no socket yet.
/// @throws ConnectionError  permanent: a file cannot be used
[[nodiscard]] std::unique_ptr<TlsSession> make_tls_session(const Endpoint& endpoint,
                                                           const std::string& operation);

}  // namespace warren::inline v0::wire
