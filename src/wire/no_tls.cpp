// Built in place of tls.cpp if OpenSSL is missing.
#include <warren/error.hpp>

#include "wire/tls.hpp"

namespace warren::inline v0::wire {

void check_tls(const Endpoint&, const std::string& operation) {
  throw ConnectionError({.operation = operation,
                         .text = "this build of warren has no TLS",
                         .scope = ErrorScope::connection,
                         .permanent = true});
}

std::unique_ptr<TlsSession> make_tls_session(const Endpoint& endpoint, const std::string& operation) {
  check_tls(endpoint, operation);
  return nullptr;
}

}  // namespace warren::inline v0::wire
