#include "support/tls_broker.hpp"

#include <fstream>
#include <random>
#include <stdexcept>
#include <utility>

#include "support/sockets.hpp"

namespace support {
namespace {

// Below those that the system hands out, so that it stays free while the broker is restarted.
std::uint16_t free_port() {
  std::random_device random;
  for (int i = 0; i < 100; ++i) {
    const auto port = static_cast<std::uint16_t>(10'000 + random() % 12'000);
    if (!connect_to("127.0.0.1", port)) return port;
  }
  throw std::runtime_error("found no free port");
}

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

TlsBroker::TlsBroker(std::string options) : options_(std::move(options)), tls_port_(free_port()) {
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
