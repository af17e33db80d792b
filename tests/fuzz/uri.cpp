// Uri::parse: refuses with InvalidArgument or reads, and what it read is read again from a URI made of it.
#include <string>

#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "fuzz.hpp"
#include "wire/peer_name.hpp"

namespace {

std::string encoded(std::string_view text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    out += {'%', digits[byte >> 4U], digits[byte & 0xFU]};
  }
  return out;
}

// An IPv6 address, whose zone is encoded (RFC 6874), or a name.
std::string written_host(const std::string& host) {
  if (host.find(':') == std::string::npos) return encoded(host);
  const auto zone = host.find('%');
  return '[' + host.substr(0, zone) +
         (zone == std::string::npos ? "" : "%25" + encoded(host.substr(zone + 1))) + ']';
}

std::string written(const warren::Uri& uri) {
  const warren::Endpoint& endpoint = uri.endpoint;
  std::string out = endpoint.tls ? "amqps://" : "amqp://";
  out += encoded(endpoint.user) + ':' + encoded(endpoint.password) + '@';
  out += written_host(endpoint.host);
  out += ':' + std::to_string(endpoint.effective_port()) + '/' + encoded(endpoint.vhost);
  char next = '?';
  const auto add = [&](std::string_view name, const std::string& value) {
    ((out += next) += name) += '=';
    out += value;
    next = '&';
  };
  if (uri.heartbeat) add("heartbeat", std::to_string(uri.heartbeat->count()));
  if (uri.connection_timeout) add("connection_timeout", std::to_string(uri.connection_timeout->count()));
  if (uri.channel_max) add("channel_max", std::to_string(*uri.channel_max));
  if (endpoint.mechanism == warren::AuthMechanism::external) add("auth_mechanism", "external");
  if (endpoint.tls) {
    if (!endpoint.tls->ca_file.empty()) add("cacertfile", encoded(endpoint.tls->ca_file));
    if (!endpoint.tls->certificate_file.empty()) add("certfile", encoded(endpoint.tls->certificate_file));
    if (!endpoint.tls->key_file.empty()) add("keyfile", encoded(endpoint.tls->key_file));
    if (!endpoint.tls->verify_peer) add("verify", "verify_none");
    if (const auto& name = endpoint.tls->server_name)
      add("server_name_indication", name->empty() ? "disable" : encoded(*name));
  }
  return out;
}

}  // namespace

void fuzz::fuzz(Input input) {
  try {
    warren::Uri uri = warren::Uri::parse(input.rest());
    expect(uri.endpoint.vhost.size() <= 255, "a virtual host is at most 255 bytes");
    for (const std::string* text :
         {&uri.endpoint.host, &uri.endpoint.vhost, &uri.endpoint.user, &uri.endpoint.password})
      expect(text->find('\0') == std::string::npos, "no part of a URI holds a NUL byte");
    const warren::wire::PeerName peer(uri.endpoint.host);
    expect(peer.text.size() <= uri.endpoint.host.size(), "a peer's name is a part of the host");

    const warren::Uri again = warren::Uri::parse(written(uri));
    uri.endpoint.port = uri.endpoint.effective_port();  // written() says it
    expect(uri == again, "a URI made of what was read is read as the same");
  } catch (const warren::InvalidArgument& error) {
    expect(!error.text().empty() && is_safe(error.what()), "a refusal says why");
  }
}
