#include "support/tls_broker.hpp"

#include <fstream>
#include <stdexcept>
#include <utility>

namespace support {
namespace {

// All of it here: what this file says of ssl_options takes the place of rabbitmq.conf's.
std::string advanced_config(std::uint16_t port, const Certificate& server, const std::string& options) {
  return "[{rabbit, [{ssl_listeners, [{\"0.0.0.0\", " + std::to_string(port) +
         "}]},\n  {auth_mechanisms, ['PLAIN', 'EXTERNAL']}, {ssl_cert_login_from, common_name},\n"
         "  {ssl_options, [{cacertfile, \"" +
         certificates().ca() + "\"}, {certfile, \"" + server.certificate + "\"}, {keyfile, \"" + server.key +
         "\"},\n    {verify, verify_peer}, {fail_if_no_peer_cert, false}" + options + "]}]}].\n";
}

void write(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  if (!out.flush()) throw std::runtime_error("can't write " + path);
}

}  // namespace

TlsBroker::TlsBroker(std::string options) : options_(std::move(options)), tls_port_(spare_port()) {
  // Both are read when it starts.
  write(folder() + "/enabled_plugins", "[rabbitmq_auth_mechanism_ssl].\n");
  use(certificates().issue("The broker", "DNS:localhost,IP:127.0.0.1"));
  restart();
}

void TlsBroker::use(const Certificate& certificate) {
  write(folder() + "/advanced.config", advanced_config(tls_port_, certificate, options_));
}

warren::Endpoint TlsBroker::tls_endpoint(const std::string& host) const {
  return {.host = host, .port = tls_port_, .tls = warren::TlsOptions{.ca_file = certificates().ca()}};
}

const TlsBroker& tls_broker() {
  static const TlsBroker broker;
  return broker;
}

}  // namespace support
