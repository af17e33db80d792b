#include "wire/tls.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <system_error>

#include <warren/error.hpp>

#include "wire/peer_name.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr std::size_t longest_server_name = 255;  // OpenSSL's own limit
constexpr std::size_t most_written = 64 * 1024;   // bytes of one write: four records
// The most encrypted bytes that wait to be sent. Beside one write, these are only answers to the peer: key
// updates and renegotiations. A correct peer sends a few of them in an hour.
constexpr std::size_t most_held = 2 * most_written;
constexpr std::size_t most_handshake_messages = 1'000;  // in one read

[[noreturn]] void fail(const std::string& operation, std::string text, bool permanent) {
  throw ConnectionError({.operation = operation,
                         .text = std::move(text),
                         .scope = ErrorScope::connection,
                         .permanent = permanent});
}

// OpenSSL's text for the first error on this thread; empty if there is none.
std::string reason() {
  const unsigned long error = ERR_peek_error();
  if (error == 0) return {};
  if (ERR_GET_LIB(error) == ERR_LIB_SYS) {
    return std::error_code(ERR_GET_REASON(error), std::system_category()).message();
  }
  const char* text = ERR_reason_error_string(error);
  return text == nullptr ? fmt::format("OpenSSL error {:x}", error) : text;
}

bool is_about_host(int error) {
  return error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH;
}

bool is_about_authority(int error) {
  return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
         error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
         error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT || error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
         error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

// Whether the alert is about this client's certificate or abilities: the next attempt would get it again.
bool is_permanent_alert(int description) {
  switch (description) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_PROTOCOL_VERSION:
    case SSL_AD_INSUFFICIENT_SECURITY:
    case SSL_AD_CERTIFICATE_REQUIRED:
    case SSL_AD_UNRECOGNIZED_NAME:
      return true;
    default:
      return false;
  }
}

std::string alert_text(int alert) {
  // OpenSSL 3.0 has no text for this alert.
  if ((alert & 0xff) == SSL_AD_CERTIFICATE_REQUIRED) return "it requires a client's certificate";
  return SSL_alert_desc_string_long(alert);
}

struct ContextDeleter {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
struct SslDeleter {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

class OpenSslSession final : public TlsSession {
 public:
  OpenSslSession(const Endpoint& endpoint, std::string operation)
      : operation_(std::move(operation)), options_(*endpoint.tls), peer_(endpoint.host) {
    std::string server_name = peer_.is_address ? std::string() : peer_.text;
    if (options_.server_name) server_name = *options_.server_name;

    ERR_clear_error();
    const std::unique_ptr<SSL_CTX, ContextDeleter> context(SSL_CTX_new(TLS_client_method()));
    if (!context) throw std::bad_alloc();
    SSL_CTX_set_info_callback(context.get(), on_info);
    SSL_CTX_set_msg_callback(context.get(), on_message);
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    // A write encrypts one record at a time, so that few bytes are held.
    SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_AUTO_RETRY);
    set_up_verification(context.get());
    load_client_certificate(context.get());

    ssl_.reset(SSL_new(context.get()));
    if (!ssl_) throw std::bad_alloc();
    SSL_set_ex_data(ssl_.get(), own_index(), this);
    if (!server_name.empty() && SSL_set_tlsext_host_name(ssl_.get(), server_name.c_str()) != 1)
      throw std::bad_alloc();
  }

  // Sends close_notify. Clears the thread's OpenSSL errors, since the application may use OpenSSL on this
  // thread itself.
  ~OpenSslSession() override {
    if (shaken_ && !failed_) SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  OpenSslSession(const OpenSslSession&) = delete;
  OpenSslSession& operator=(const OpenSslSession&) = delete;

  void shake_hands(int descriptor, std::chrono::steady_clock::time_point deadline,
                   const Wait& wait) override {
    descriptor_ = descriptor;
    BIO* input = BIO_new_socket(descriptor_, BIO_NOCLOSE);
    if (input == nullptr) throw std::bad_alloc();
    SSL_set0_rbio(ssl_.get(), input);
    BIO* output = BIO_new(output_method());
    if (output == nullptr) throw std::bad_alloc();
    BIO_set_data(output, this);
    BIO_set_init(output, 1);
    SSL_set0_wbio(ssl_.get(), output);
    for (;;) {
      flush();
      ERR_clear_error();
      const int result = SSL_connect(ssl_.get());
      if (result == 1) break;
      const int error = SSL_get_error(ssl_.get(), result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        failed_ = true;
        explain();
        fail_handshake();
      }
      await(wait, descriptor_, !held_.empty(), deadline, operation_, "the TLS handshake");
    }
    shaken_ = true;
    // Read-ahead: one recv() for a record instead of two, and one for many small records.
    SSL_set_read_ahead(ssl_.get(), 1);
  }

  void explain() const override {
    if (refusal_ != X509_V_OK) {
      std::string text = fmt::format("the broker's certificate ({}) was refused: {}", subject_.data(),
                                     X509_verify_cert_error_string(refusal_));
      if (is_about_host(refusal_)) text += fmt::format("; it is not for {}", peer_.text);
      if (is_about_authority(refusal_)) text += "; it comes from no trusted authority";
      fail(operation_, std::move(text), true);
    }
    if (alert_ >= 0) {
      fail(operation_, "the broker refused TLS: " + alert_text(alert_), is_permanent_alert(alert_ & 0xff));
    }
  }

  // SSL_read returns at most one record, so this function reads until there are no more. Fewer bytes than
  // asked for must mean that, as with recv(): the next poll does not see the bytes that OpenSSL holds.
  [[nodiscard]] Transport::Result read(char* data, std::size_t size) noexcept override {
    flush();
    handshake_messages_ = 0;
    std::size_t total = 0;
    while (total < size && !failed_) {
      ERR_clear_error();
      std::size_t count = 0;
      if (SSL_read_ex(ssl_.get(), data + total, size - total, &count) == 1) {
        total += count;
        continue;
      }
      if (SSL_get_error(ssl_.get(), 0) == SSL_ERROR_WANT_READ) break;
      give_up();
    }
    if (total > 0) return {Transport::Status::ok, total};
    return {failed_ ? Transport::Status::closed : Transport::Status::would_block, 0};
  }

  [[nodiscard]] Transport::Result write(const char* data, std::size_t size) noexcept override {
    flush();
    if (failed_ || output_failed_) return {Transport::Status::closed, 0};
    // Only read() can complete a renegotiation, since only there the broker's data may come in between.
    write_wants_read_ = SSL_in_init(ssl_.get()) == 1;
    if (write_wants_read_ || !held_.empty()) return {Transport::Status::would_block, 0};
    ERR_clear_error();
    std::size_t count = 0;
    if (SSL_write_ex(ssl_.get(), data, std::min(size, most_written), &count) == 1) {
      if (failed_ || output_failed_) return {Transport::Status::closed, 0};
      return {Transport::Status::ok, count};
    }
    write_wants_read_ = SSL_get_error(ssl_.get(), 0) == SSL_ERROR_WANT_READ;
    if (write_wants_read_) return {Transport::Status::would_block, 0};
    give_up();
    return {Transport::Status::closed, 0};
  }

  [[nodiscard]] const char* fault() const noexcept override { return fault_; }

  [[nodiscard]] bool wants_write(bool output_waits) const noexcept override {
    return !held_.empty() || (output_waits && !write_wants_read_);
  }

 private:
  static int own_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
  }

  // OpenSSL's output to the socket. It never blocks, but holds the bytes that the socket does not take.
  // Otherwise, if a record were half sent, a key update that read() must answer would be a fatal OpenSSL
  // error (3.0: "bad length").
  static const BIO_METHOD* output_method() {
    static const BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "warren");
      if (made == nullptr) throw std::bad_alloc();
      BIO_meth_set_write(made, [](BIO* bio, const char* data, int size) {
        return static_cast<OpenSslSession*>(BIO_get_data(bio))->send(bio, data, size);
      });
      BIO_meth_set_ctrl(
          made, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH ? 1 : 0; });
      return made;
    }();
    return method;
  }

  int send(BIO* bio, const char* data, int size) noexcept {
    BIO_clear_retry_flags(bio);
    flush();
    const std::size_t sent =
        held_.empty() && !output_failed_ ? try_send(data, static_cast<std::size_t>(size)) : 0;
    if (output_failed_) return size;  // the reader detects the end
    if (shaken_ && held_.size() > most_held) break_off("TLS answers that it causes and does not read");
    if (failed_) return -1;
    try {
      held_.append(data + sent, static_cast<std::size_t>(size) - sent);
    } catch (const std::bad_alloc&) {
      give_up();
    }
    return size;
  }

  void flush() noexcept {
    if (!held_.empty()) held_.erase(0, try_send(held_.data(), held_.size()));
  }

  std::size_t try_send(const char* data, std::size_t size) noexcept {
    for (;;) {
      const ssize_t count = ::send(descriptor_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) fail_output();
      return 0;
    }
  }

  void fail_output() noexcept {
    output_failed_ = true;
    held_.clear();
    SSL_set_quiet_shutdown(ssl_.get(), 1);
  }

  [[noreturn]] void fail_handshake() const {
    const unsigned long error = ERR_peek_error();
    const bool is_ssl = ERR_GET_LIB(error) == ERR_LIB_SSL;
    const int code = ERR_GET_REASON(error);
    const std::string why = reason();
    std::string text =
        fmt::format("the TLS handshake failed: {}", why.empty() ? "the broker closed the connection" : why);
    if (is_ssl && (code == SSL_R_WRONG_VERSION_NUMBER || code == SSL_R_PACKET_LENGTH_TOO_LONG)) {
      text +=
          "; what answered speaks no TLS. This may be the broker's port for plain TCP: use amqp, or the "
          "port for TLS";
    }
    fail(operation_, std::move(text), is_ssl && code == SSL_R_UNSUPPORTED_PROTOCOL);
  }

  // While OpenSSL reads these messages one after the other, no deadline is checked.
  static void on_message(int sent, int, int type, const void*, std::size_t, SSL* ssl, void*) noexcept {
    if (sent != 0 || type != SSL3_RT_HANDSHAKE) return;
    OpenSslSession& session = of(ssl);
    if (session.shaken_ && ++session.handshake_messages_ > most_handshake_messages)
      session.break_off("TLS key updates or renegotiations without end");
  }

  void break_off(const char* fault) noexcept {
    if (fault_ == nullptr) fault_ = fault;
    give_up();
  }

  static OpenSslSession& of(const SSL* ssl) {
    return *static_cast<OpenSslSession*>(SSL_get_ex_data(ssl, own_index()));
  }

  static void on_info(const SSL* ssl, int where, int value) noexcept {
    if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL) of(ssl).alert_ = value;
  }

  static int on_verify(int verified, X509_STORE_CTX* store) noexcept {
    if (verified == 1) return 1;
    const auto* ssl =
        static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    return of(ssl).refuses(store) ? 0 : 1;
  }

  bool refuses(X509_STORE_CTX* store) noexcept {
    const int error = X509_STORE_CTX_get_error(store);
    if (is_about_host(error) ? !options_.verify_host : !options_.verify_peer) {
      X509_STORE_CTX_set_error(store, X509_V_OK);
      return false;
    }
    refusal_ = error;
    if (X509* certificate = X509_STORE_CTX_get_current_cert(store)) {
      X509_NAME_oneline(X509_get_subject_name(certificate), subject_.data(),
                        static_cast<int>(subject_.size()));
    }
    return true;
  }

  void set_up_verification(SSL_CTX* context) {
    if (!options_.ca_file.empty()) {
      if (SSL_CTX_load_verify_locations(context, options_.ca_file.c_str(), nullptr) != 1) {
        refuse_file("the CA file", options_.ca_file);
      }
    } else if (options_.verify_peer && SSL_CTX_set_default_verify_paths(context) != 1) {
      fail(operation_, fmt::format("the system's certificate authorities can't be used: {}", reason()), true);
    }
    if (options_.verify_host) {
      X509_VERIFY_PARAM* parameters = SSL_CTX_get0_param(context);
      X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      const int set = peer_.is_address
                          ? X509_VERIFY_PARAM_set1_ip_asc(parameters, peer_.text.c_str())
                          : X509_VERIFY_PARAM_set1_host(parameters, peer_.text.data(), peer_.text.size());
      if (set != 1) fail(operation_, "the host can't be verified: " + peer_.text, true);
    }
    const bool verifies = options_.verify_peer || options_.verify_host;
    SSL_CTX_set_verify(context, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, on_verify);
  }

  void load_client_certificate(SSL_CTX* context) {
    if (options_.certificate_file.empty()) return;
    if (SSL_CTX_use_certificate_chain_file(context, options_.certificate_file.c_str()) != 1) {
      refuse_file("the client's certificate", options_.certificate_file);
    }
    // One file may contain both the certificate and the key.
    const std::string& key = options_.key_file.empty() ? options_.certificate_file : options_.key_file;
    bool encrypted = false;
    // OpenSSL's own callback would ask for the password on the terminal.
    SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
    SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void* seen) {
      *static_cast<bool*>(seen) = true;
      return -1;
    });
    const bool loaded = SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) == 1 &&
                        SSL_CTX_check_private_key(context) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
    if (encrypted) fail(operation_, fmt::format("the private key {} needs a password", key), true);
    if (!loaded) refuse_file("the private key", key);
  }

  [[noreturn]] void refuse_file(const char* what, const std::string& file) const {
    fail(operation_, fmt::format("{} {} can't be used: {}", what, file, reason()), true);
  }

  // Ends both directions without a close_notify. A poll must see the end too, since the socket may still be
  // open.
  void give_up() noexcept {
    failed_ = true;
    SSL_set_quiet_shutdown(ssl_.get(), 1);
    ::shutdown(descriptor_, SHUT_RDWR);
  }

  const std::string operation_;
  const TlsOptions options_;
  const PeerName peer_;
  int descriptor_ = -1;
  std::unique_ptr<SSL, SslDeleter> ssl_;

  // Why the handshake failed: OpenSSL's own error is less precise.
  int refusal_ = X509_V_OK;
  std::array<char, 256> subject_{};
  int alert_ = -1;
  bool shaken_ = false;

  std::string held_;                    // encrypted bytes that are not sent yet
  std::size_t handshake_messages_ = 0;  // received in this read
  const char* fault_ = nullptr;         // the peer's fault
  bool write_wants_read_ = false;
  bool output_failed_ = false;
  bool failed_ = false;
};

}  // namespace

void check_tls(const Endpoint& endpoint, const std::string& operation) {
  const TlsOptions& options = *endpoint.tls;
  const std::string server_name = options.server_name.value_or(std::string());
  for (const std::string* text :
       {&endpoint.host, &options.ca_file, &options.certificate_file, &options.key_file, &server_name}) {
    if (text->find('\0') != std::string::npos) fail(operation, "a TLS option holds a NUL byte", true);
  }
  if (server_name.size() > longest_server_name)
    fail(operation, "the TLS server name is above 255 bytes", true);
  if (!options.key_file.empty() && options.certificate_file.empty()) {
    fail(operation, "there is a private key for TLS, but no client's certificate", true);
  }
}

std::unique_ptr<TlsSession> make_tls_session(const Endpoint& endpoint, const std::string& operation) {
  // Otherwise OpenSSL would end itself at exit(), while the I/O thread of a living connection uses it.
  static const int initialised = OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
  if (initialised != 1) fail(operation, "OpenSSL can't be used: " + reason(), true);
  return std::make_unique<OpenSslSession>(endpoint, operation);
}

}  // namespace warren::inline v0::wire
