#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <warren/uri.hpp>

#include "wire/socket.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::wire {

/// TLS on a socket that never blocks: shakes hands, then reads and writes.
///
/// The system's authorities or a file of them, TLS 1.2 as the minimum, the host's name for SNI, its name or
/// address for the certificate, a refusal inside the handshake, errors that say which.
///
/// One thread at a time. The socket must outlive it.
class TlsSession {
 public:
  virtual ~TlsSession() = default;

  /// Takes a connected socket, and blocks until the handshake is done, at most until the deadline. Once.
  /// @throws ConnectionError  permanent if the same again would meet the same
  /// @throws GivenUp
  virtual void shake_hands(int descriptor, std::chrono::steady_clock::time_point deadline,
                           const Wait& wait) = 0;
  /// Throws what TLS knows of why the peer closed the connection; returns if it knows nothing.
  virtual void explain() const = 0;

  /// As the Transport's.
  [[nodiscard]] virtual Transport::Result read(char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual Transport::Result write(const char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual bool wants_write(bool output_waits) const noexcept = 0;
  [[nodiscard]] virtual const char* fault() const noexcept = 0;
};

/// @throws ConnectionError  permanent: this build has no TLS, or the endpoint's TlsOptions can't be right
void check_tls(const Endpoint& endpoint, const std::string& operation);

/// A session set up for the endpoint. Reads the files, and needs no socket yet.
/// @throws ConnectionError  permanent: a file can't be used
[[nodiscard]] std::unique_ptr<TlsSession> make_tls_session(const Endpoint& endpoint,
                                                           const std::string& operation);

}  // namespace warren::inline v0::wire
