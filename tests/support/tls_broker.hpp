#pragma once

#include <string>

#include "support/broker.hpp"
#include "support/certificates.hpp"

namespace support {

/// A private broker that listens with TLS, too: its certificate is for localhost and 127.0.0.1, it verifies
/// the certificates of those clients that have one, and takes EXTERNAL beside PLAIN.
class TlsBroker : public PrivateBroker {
 public:
  /// @param options  further ones of Erlang's for the listener, each behind a comma: ", {versions,
  /// ['tlsv1.2']}"
  explicit TlsBroker(std::string options = {});

  /// With TLS, and certificates()' authority as the trusted one.
  [[nodiscard]] warren::Endpoint tls_endpoint(const std::string& host = "localhost") const;
  /// Takes this certificate instead of its own, from its next start on.
  void use(const Certificate& certificate);

 private:
  std::string options_;
  std::uint16_t tls_port_;
};

/// One for all tests that need nothing special of it.
const TlsBroker& tls_broker();

}  // namespace support
