#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// How a connection is encrypted (https://www.rabbitmq.com/docs/ssl), by TLS 1.2 or later. The default
/// verifies the broker's certificate against the system's authorities, and that it is for the host (name or
/// address).
///
/// Files are PEM, read at each connect. What is wrong with them, or with the broker's certificate, is a
/// permanent ConnectionError; so is TLS itself in a build of warren without it.
struct TlsOptions {
  std::string ca_file{};           ///< authorities to trust; empty: the system's
  std::string certificate_file{};  ///< the client's certificate; empty: none
  std::string key_file{};          ///< its private key, without a password; empty: in certificate_file
  bool verify_peer = true;         ///< the broker's certificate must come from a trusted authority
  bool verify_host = true;         ///< the broker's certificate must be for the host connected to
  /// The name to send (SNI). Not set: the host. Empty: none is sent.
  std::optional<std::string> server_name{};

  friend bool operator==(const TlsOptions&, const TlsOptions&) = default;  ///< equal in all of it
};

/// SASL mechanism of the login (https://www.rabbitmq.com/docs/access-control#mechanisms).
enum class AuthMechanism : std::uint8_t {
  plain,     ///< `PLAIN`: user and password
  external,  ///< `EXTERNAL`: the client's TLS certificate
};

/// A broker's address, with the virtual host and the login to use there. A plain value, nothing is checked.
struct WARREN_EXPORT Endpoint {
  std::string host = "localhost";  ///< name or address; IPv6 without brackets
  std::uint16_t port = 0;          ///< 0: 5672, with TLS 5671
  std::string vhost = "/";         ///< at most 255 bytes
  std::string user = "guest";      ///< see `password`
  /// An OAuth 2 token, too. User and password share one frame with the client properties, about 500 bytes:
  /// RabbitMQ takes 4096 bytes of it before 4.1 and 8192 from then on, unless its `initial_frame_max` says
  /// otherwise. A login above 64 KiB is refused before connecting.
  std::string password = "guest";
  AuthMechanism mechanism = AuthMechanism::plain;  ///< how to log in
  std::optional<TlsOptions> tls{};                 ///< not set: the connection is not encrypted

  /// The port to connect to: `port`, or the default where it is 0. Never blocks.
  [[nodiscard]] std::uint16_t effective_port() const noexcept;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;  ///< equal in all of it
};

/// One URI in a list of URIs: made of a literal, a string or a string_view, never of `{}`. The text must live
/// until the call returns.
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

/// What an AMQP URI says: an endpoint, and those connection settings that were given as parameters.
struct WARREN_EXPORT Uri {
  Endpoint endpoint{};                                            ///< where to connect, and as whom
  std::optional<std::chrono::seconds> heartbeat{};                ///< 0 to 65535 s; 0 turns heartbeats off
  std::optional<std::chrono::milliseconds> connection_timeout{};  ///< 1 to 2^31 - 1 ms
  std::optional<std::uint16_t> channel_max{};                     ///< 0: no limit on the client's side

  /// Reads `amqp[s]://[user[:password]@][host][:port][/vhost][?parameter=value[&...]]`, following
  /// https://www.rabbitmq.com/docs/uri-spec and https://www.rabbitmq.com/docs/uri-query-parameters.
  ///
  /// - What is absent keeps the default of Endpoint; an empty host is `localhost`. A user without a password
  ///   keeps the password `guest`.
  /// - Each part may be percent-encoded, to any bytes but 0; `+` is a plus. In the user and the password `/`,
  ///   `@` and `:` must be (`%2F`, `%40`, `%3A`), in the vhost `/`; else they end the part that they are in.
  /// - The virtual host is at most 255 bytes once decoded. For the user and the password see Endpoint.
  /// - Deviation: `amqp://host/` names the virtual host `/`, as in most clients. By the specification it is
  ///   the empty one, which never exists.
  /// - Stricter than the specification: a colon after the host must be followed by a port.
  ///
  /// Parameters, each at most once: `heartbeat` (seconds, 0 to 65535), `connection_timeout` (milliseconds,
  /// from 1), `channel_max` (0 to 65535), `auth_mechanism` (`plain` or `external`); for `amqps` only:
  /// `cacertfile`, `certfile`, `keyfile`, `verify` (`verify_peer`, the default, or `verify_none`, which turns
  /// both verifications off), `server_name_indication` (a name, or `disable` to send none).
  ///
  /// Never blocks, opens no file. Any thread.
  ///
  /// @throws InvalidArgument  for anything else, unknown parameters and fragments included. The text names
  ///     the fault with the parameter or the position (bytes, from 1). It never holds the password or a
  ///     parameter's value, and so may be logged.
  [[nodiscard]] static Uri parse(std::string_view text);

  friend bool operator==(const Uri&, const Uri&) = default;  ///< equal in all of it
};

/// The enumerator's name, as `plain`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(AuthMechanism mechanism) noexcept;

}  // namespace warren::inline v0
