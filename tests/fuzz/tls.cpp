// Connecting and logging in over TLS, against a server whose certificate may be wrong, whose bytes are
// spoiled on their way, and that says alerts, key updates and farewells when nobody expects them. Connecting
// ends in a Transport or a ConnectionError; reading and writing never block.
//
// The input is the options of both sides, then one action for each piece that the server sends.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "certificates.hpp"
#include "fuzz.hpp"
#include "loopback_peer.hpp"
#include "support/frames.hpp"
#include "support/sockets.hpp"
#include "wire/methods.hpp"
#include "wire/transport.hpp"

namespace {

using namespace warren;
using namespace std::chrono_literals;
using fuzz::expect;
using fuzz::Input;
using support::Descriptor;
using support::number;
using wire::Transport;

const fuzz::Certificates& certificates() {
  static const fuzz::Certificates made;  // its folder goes at exit
  return made;
}

struct Server {
  std::size_t certificate = 0;
  bool asks_for_certificate = false;
  bool only_tls12 = false;
};

class Peer : fuzz::LoopbackPeer {
 public:
  Peer(const Descriptor& listener, const Server& server, Input input)
      : LoopbackPeer(listener), server_(server), input_(input) {
    start([this] {
      const struct Clear {
        ~Clear() { ERR_clear_error(); }
      } clear;
      serve();
    });
  }
  ~Peer() { stop(); }

 private:
  void serve() {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()),
                                                                    SSL_CTX_free);
    const fuzz::Certificates& all = certificates();
    const fuzz::Certificate& own =
        *std::array{&all.good, &all.other_host, &all.expired, &all.self_signed}[server_.certificate];
    SSL_CTX_use_certificate_file(context.get(), own.certificate.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(context.get(), own.key.c_str(), SSL_FILETYPE_PEM);
    if (server_.only_tls12) SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
    if (server_.asks_for_certificate) {
      SSL_CTX_load_verify_locations(context.get(), all.ca.certificate.c_str(), nullptr);
      SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
    ssl_ = ssl.get();
    from_client_ = BIO_new(BIO_s_mem());
    to_client_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_, from_client_, to_client_);
    SSL_set_accept_state(ssl_);
    reader_ = support::FrameReader(support::Direction::to_broker, 0);
    said_start_ = false;
    for (;;) {
      char buffer[16 * 1024];
      const std::string_view bytes = receive(buffer);
      BIO_write(from_client_, bytes.data(), static_cast<int>(bytes.size()));
      const bool goes_on = step();
      flush();
      if (!goes_on) throw LinkGone();
    }
  }

  // False once TLS has failed.
  bool step() {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_) == 0) {
      const int result = SSL_do_handshake(ssl_);
      if (result != 1) return SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ;
    }
    if (!said_start_) {
      said_start_ = true;
      say(support::start_frame("PLAIN EXTERNAL"));
    }
    char buffer[16 * 1024];
    for (;;) {
      ERR_clear_error();
      const int count = SSL_read(ssl_, buffer, sizeof buffer);
      if (count <= 0) return SSL_get_error(ssl_, count) == SSL_ERROR_WANT_READ;
      std::vector<support::Frame> frames;
      reader_.read({buffer, static_cast<std::size_t>(count)}, frames);
      for (const support::Frame& frame : frames) answer(frame.type == 1 ? frame.method : 0);
    }
  }

  void answer(std::uint32_t method) {
    switch (method) {
      case support::method::connection_start_ok:
        return say(support::method_frame(0, support::method::connection_tune,
                                         number(2'047, 2) + number(131'072, 4) + number(0, 2)));
      case 0x000A0028:
        say(support::method_frame(0, support::method::connection_open_ok, support::short_string("")));
        return flush();
      case 0x000A0032:
        return say(support::method_frame(0, support::method::connection_close_ok));
      default:
        return;
    }
  }

  void say(std::string_view bytes) {
    ERR_clear_error();
    if (SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) <= 0) ERR_clear_error();
  }

  std::string output() {
    std::string out(BIO_ctrl_pending(to_client_), '\0');
    if (!out.empty()) BIO_read(to_client_, out.data(), static_cast<int>(out.size()));
    return out;
  }

  // Sends what TLS has for the client, as the input says.
  void flush() {
    const bool shaken = SSL_is_init_finished(ssl_) == 1;
    std::string out = output();
    if (out.empty()) return;
    switch (input_.below(14)) {
      case 1: {
        const std::size_t at = input_.number<std::uint16_t>() % out.size();
        out[at] = static_cast<char>(static_cast<unsigned char>(out[at]) ^ (1 + input_.below(255)));
        return send(out);
      }
      case 2:
        send(out.substr(0, input_.number<std::uint16_t>() % out.size()));
        throw LinkGone();
      case 3:
        send(input_.text());
        return send(out);
      case 4:
        send(out);
        return send(input_.text());
      case 5:
        send(out.substr(0, out.size() / 2));
        return send(out.substr(out.size() / 2));
      case 6:
        throw LinkGone();
      case 7: {  // an alert in plain text, which counts before there are keys
        const std::uint64_t level = 1 + input_.below(2);
        send(std::string("\x15\x03\x03\0\2", 5) + number(level, 1) + number(input_.byte(), 1));
        return send(out);
      }
      case 8:
        send(out);
        ERR_clear_error();
        if (shaken && SSL_version(ssl_) == TLS1_3_VERSION) {
          SSL_key_update(ssl_, input_.flag() ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
          SSL_do_handshake(ssl_);
        } else if (shaken) {
          SSL_renegotiate(ssl_);
          SSL_do_handshake(ssl_);
        }
        ERR_clear_error();
        return send(output());
      case 9:
        send(out);
        if (shaken) SSL_shutdown(ssl_);
        ERR_clear_error();
        send(output());
        if (input_.flag()) throw LinkGone();
        return;
      case 10:
        send(out);
        if (!shaken) return;
        for (std::size_t i = input_.byte(); i > 0; --i) say(support::frame(8, 0, ""));
        return send(output());
      case 11:
        send(out);
        if (shaken) say(std::string(40'000, 'x'));
        return send(output());
      default:
        return send(out);
    }
  }

  const Server server_;
  Input input_;
  SSL* ssl_ = nullptr;
  BIO* from_client_ = nullptr;
  BIO* to_client_ = nullptr;
  support::FrameReader reader_{support::Direction::to_broker, 0};
  bool said_start_ = false;
};

Endpoint odd_endpoint(Input& input, std::uint16_t port) {
  Endpoint endpoint{.host = "127.0.0.1", .port = port};
  const fuzz::Certificates& all = certificates();
  TlsOptions tls{.ca_file = all.ca.certificate};
  const std::uint8_t which = input.byte();
  if ((which & 1U) != 0) endpoint.host = "localhost";
  if ((which & 2U) != 0) tls.verify_peer = false;
  if ((which & 4U) != 0) tls.verify_host = false;
  if ((which & 8U) != 0) tls.server_name = input.text();
  if ((which & 16U) != 0) endpoint.mechanism = AuthMechanism::external;
  if ((which & 32U) != 0)
    tls.ca_file = std::array{std::string(), all.no_pem, all.folder + "/none"}[input.below(3)];
  if ((which & 64U) != 0) {
    tls.certificate_file = std::array{all.good.certificate, all.no_pem, all.other_host.certificate,
                                      std::string()}[input.below(4)];
    tls.key_file =
        std::array{all.good.key, all.encrypted_key, all.ca.key, std::string(), all.no_pem}[input.below(5)];
  }
  endpoint.tls = tls;
  return endpoint;
}

Transport::Result read(Transport& transport) {
  char buffer[8 * 1024];
  const Transport::Result result = transport.read(buffer, sizeof buffer);
  expect(result.bytes <= sizeof buffer, "no more is read than asked for");
  expect((result.status == Transport::Status::ok) == (result.bytes > 0), "what is read has bytes");
  return result;
}

// As the I/O thread does: reads what there is, offers output, sleeps for neither. The end is the peer's
// close-ok, or that of the link.
void talk(Transport& transport, std::size_t bytes) {
  wire::Bytes output(bytes, 'o');
  wire::connection_close(output, 200, "bye");
  std::string_view rest(output.data(), output.size());
  const auto deadline = std::chrono::steady_clock::now() + 20ms;
  while (std::chrono::steady_clock::now() < deadline) {
    Transport::Result result = read(transport);
    while (result.status == Transport::Status::ok) {
      if (rest.empty()) return;
      result = read(transport);
    }
    if (result.status == Transport::Status::closed) return;
    if (!rest.empty()) {
      result = transport.write({&rest, 1});
      if (result.status == Transport::Status::closed) return;
      expect(result.bytes <= rest.size(), "no more is written than offered");
      rest.remove_prefix(result.bytes);
      if (result.bytes > 0) continue;
    }
    (void)wire::wait_by_poll(transport.descriptor(), transport.wants_write(!rest.empty()), deadline);
  }
}

}  // namespace

void fuzz::fuzz(Input input) {
  static const auto& listening = *new auto(support::listen_here());
  static const bool is_set_up = [] {  // the system's own authorities are many: reading them takes a while
    ::setenv("SSL_CERT_FILE", certificates().ca.certificate.c_str(), 1);
    ::setenv("SSL_CERT_DIR", certificates().folder.c_str(), 1);
    return true;
  }();
  expect(is_set_up, "there are certificates");
  while (support::accept_from(listening.first)) {
  }
  const std::uint8_t which = input.byte();
  const Server server{
      .certificate = which % 4U, .asks_for_certificate = (which & 4U) != 0, .only_tls12 = (which & 8U) != 0};
  const std::size_t bytes = (which & 16U) != 0 ? 100'000 : 0;
  const Endpoint endpoint = odd_endpoint(input, listening.second);
  const Peer peer(listening.first, server, input);
  try {
    const auto transport = Transport::connect(endpoint, {.timeout = 200ms});
    expect(transport->descriptor() >= 0, "a connection has a socket");
    expect(transport->direct_writes() == !endpoint.tls, "TLS is one thread's");
    talk(*transport, bytes);
  } catch (const ConnectionError& error) {
    expect(!error.text().empty(), "an error says what happened");
  }
}
