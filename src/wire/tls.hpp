#pragma once

#include <memory>
#include <string>

#include <warren/uri.hpp>

#include "wire/amqp.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::wire {

/// TLS on a rabbitmq-c connection: rabbitmq-c shakes hands and logs in, then this reads and writes past it.
///
/// Adds what rabbitmq-c's own socket lacks, at least before 0.14: the system's authorities, TLS 1.2 as the
/// minimum, the host's name for SNI and its name or address for the certificate (rabbitmq-c is given a
/// numeric address), a refusal inside the handshake rather than after it, errors that say which.
///
/// One thread at a time. Must outlive the connection, which calls back into it.
class TlsSession {
 public:
  virtual ~TlsSession() = default;

  /// rabbitmq-c's, which the connection owns; to be opened.
  [[nodiscard]] virtual amqp_socket_t* socket() const noexcept = 0;
  /// Throws what TLS knows of why a call of rabbitmq-c's ended with `status`; returns where it knows nothing.
  /// On the thread that made that call, and before any other.
  virtual void explain(int status, const std::string& operation) const = 0;
  /// After the handshake: a write that fails is left to the next read, which may still find the broker's
  /// reason.
  virtual void take_output() = 0;
  /// After the login: from here on only this reads and writes.
  virtual void take_over() noexcept = 0;

  /// As the Transport's.
  [[nodiscard]] virtual Transport::Result read(char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual Transport::Result write(const char* data, std::size_t size) noexcept = 0;
  [[nodiscard]] virtual bool wants_write(bool output_waits) const noexcept = 0;
};

/// @throws ConnectionError  permanent: this build has no TLS, or the endpoint's TlsOptions can't be right
void check_tls(const Endpoint& endpoint, const std::string& operation);

/// Gives the connection a socket with TLS, set up for the endpoint. Reads the files, opens nothing else.
/// @throws ConnectionError  permanent: a file can't be used
[[nodiscard]] std::unique_ptr<TlsSession> make_tls_session(amqp_connection_state_t connection,
                                                           const Endpoint& endpoint,
                                                           const std::string& operation);

}  // namespace warren::inline v0::wire
