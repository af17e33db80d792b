#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// How a connection is encrypted, with TLS 1.2 or later (https://www.rabbitmq.com/docs/ssl).
///
/// By default the broker's certificate must come from an authority that the system trusts, and must be for
/// the host name or address that warren connects to. Files are PEM and are read at each connect. A faulty
/// file or certificate is a permanent ConnectionError, and so is TLS in a build of warren without it.
struct TlsOptions {
  std::string ca_file{};           ///< certificates of the authorities to trust; empty means the system's
  std::string certificate_file{};  ///< the client's certificate; empty means none
  /// The client's private key, unencrypted; empty means that it is in certificate_file.
  std::string key_file{};
  bool verify_peer = true;  ///< the broker's certificate must come from a trusted authority
  bool verify_host = true;  ///< the broker's certificate must be for the host connected to
  /// The server name to send (SNI). If not set, it is the host. If empty, none is sent.
  std::optional<std::string> server_name{};

  friend bool operator==(const TlsOptions&, const TlsOptions&) = default;
};

/// The SASL mechanism of the login (https://www.rabbitmq.com/docs/access-control#mechanisms).
enum class AuthMechanism : std::uint8_t {
  plain,     ///< `PLAIN`: user and password
  external,  ///< `EXTERNAL`: the client's TLS certificate
};

/// The address of a broker, with the virtual host and the login to use. A plain value without checks.
struct WARREN_EXPORT Endpoint {
  std::string host = "localhost";  ///< a host name or an address; IPv6 without brackets
  std::uint16_t port = 0;          ///< 0 means 5672, or 5671 with TLS
  std::string vhost = "/";         ///< at most 255 bytes
  std::string user = "guest";      ///< the user name; Endpoint::password tells its limit
  /// The password, or an OAuth 2 token. User, password and the client properties (about 500 bytes) share one
  /// frame. RabbitMQ accepts 4096 bytes before 4.1, and 8192 bytes from 4.1 on, unless its setting
  /// `initial_frame_max` differs. A login above 64 KiB is refused before connecting.
  std::string password = "guest";
  AuthMechanism mechanism = AuthMechanism::plain;  ///< how to log in
  std::optional<TlsOptions> tls{};                 ///< if not set, the connection is not encrypted

  /// The port to connect to: `port`, or the default port if `port` is 0. Never blocks.
  [[nodiscard]] std::uint16_t effective_port() const noexcept;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// One URI in a list of URIs, made from a literal, a string or a string_view, but not from `{}`. The text
/// must live until the call returns.
class UriText {
 public:
  /// Refers to the text. Never blocks.
  template <typename Text>
  requires std::convertible_to<const Text&, std::string_view> UriText(const Text& text)
      : text_(text) {}  // NOLINT(google-explicit-constructor): it stands for the text
  /// The text.
  [[nodiscard]] std::string_view view() const noexcept { return text_; }

 private:
  std::string_view text_;
};

/// A parsed AMQP URI: an endpoint, and the connection settings that the URI's parameters name.
struct WARREN_EXPORT Uri {
  Endpoint endpoint{};                                            ///< the address and the login
  std::optional<std::chrono::seconds> heartbeat{};                ///< 0 to 65535 s; 0 turns heartbeats off
  std::optional<std::chrono::milliseconds> connection_timeout{};  ///< 1 to 2^31 - 1 ms
  std::optional<std::uint16_t> channel_max{};                     ///< 0 means that the client sets no limit

  /// Reads `amqp[s]://[user[:password]@][host][:port][/vhost][?parameter=value[&...]]`, following
  /// https://www.rabbitmq.com/docs/uri-spec and https://www.rabbitmq.com/docs/uri-query-parameters.
  ///
  /// - A part that is absent keeps its default in Endpoint. An empty host is `localhost`. A user without a
  ///   password keeps the password `guest`.
  /// - Each part may be percent-encoded, to any bytes except 0. A `+` is a plus.
  /// - In the user and the password, the characters `/`, `@` and `:` must be encoded (`%2F`, `%40`, `%3A`).
  ///   In the virtual host, `/` must be encoded.
  /// - The decoded virtual host is at most 255 bytes. Endpoint::password tells the limit of the login.
  /// - Unlike in the specification, `amqp://host/` names the virtual host `/`, because most clients do so. In
  ///   the specification it is the empty virtual host, which never exists.
  /// - Unlike in the specification, a colon after the host must be followed by a port.
  ///
  /// Parameters, each at most once:
  ///
  /// - `heartbeat`: seconds, 0 to 65535
  /// - `connection_timeout`: milliseconds, from 1
  /// - `channel_max`: 0 to 65535
  /// - `auth_mechanism`: `plain` or `external`
  /// - `cacertfile`, `certfile`, `keyfile`, for `amqps` only: paths of files
  /// - `verify`, for `amqps` only: `verify_peer` (the default), or `verify_none`, which turns both
  ///   verifications off
  /// - `server_name_indication`, for `amqps` only: a name, or `disable` to send none
  ///
  /// Never blocks, opens no file. Any thread.
  ///
  /// @throws InvalidArgument  for anything else, unknown parameters and fragments included. The text names
  ///     the fault with the parameter or the position (bytes, from 1). It never holds the password or a
  ///     parameter's value, and so may be logged.
  [[nodiscard]] static Uri parse(std::string_view text);

  friend bool operator==(const Uri&, const Uri&) = default;
};

/// The name of the enumerator, for example `plain`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(AuthMechanism mechanism) noexcept;

}  // namespace warren::inline v0
