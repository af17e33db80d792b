#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include <warren/uri.hpp>

#include "support/certificates.hpp"
#include "support/sockets.hpp"

namespace support {

/// `openssl s_server` on a port of its own on 127.0.0.1, for handshakes: it speaks no AMQP.
class TlsPeer {
 public:
  /// Returns once it listens.
  explicit TlsPeer(const Certificate& certificate, const std::vector<std::string>& arguments = {});
  ~TlsPeer();
  TlsPeer(const TlsPeer&) = delete;
  TlsPeer& operator=(const TlsPeer&) = delete;

  /// With TLS, and certificates()' authority as the trusted one.
  [[nodiscard]] warren::Endpoint endpoint(const std::string& host = "localhost") const;
  /// What it printed since it listens.
  [[nodiscard]] std::string output() const;

 private:
  std::string log_;
  Descriptor stdin_;
  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace support
