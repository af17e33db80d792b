#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include <warren/connection_state.hpp>
#include <warren/field_table.hpp>
#include <warren/log.hpp>

namespace warren::inline v0 {

/// What happens once a connection is lost (https://www.rabbitmq.com/docs/reliability#connection-recovery).
/// The first connect has options of its own, see FirstConnectOptions.
struct RecoveryOptions {
  bool enabled = true;  ///< without it, a lost connection is a failed one
  /// The pause ahead of the first try; doubled with each one, down to half of it at random, so that many
  /// clients don't come back at once.
  std::chrono::milliseconds initial_delay{100};
  std::chrono::milliseconds early_max_delay{800};  ///< the most in the first minute of an outage
  std::chrono::milliseconds max_delay{30'000};     ///< the most after that
  std::chrono::milliseconds stable_after{10'000};  ///< lasts so long: the next loss starts at `initial_delay`
  std::optional<std::uint32_t> max_tries{};  ///< of one outage, each over all endpoints; not set: no limit
  std::optional<std::chrono::milliseconds> give_up_after{};  ///< the longest outage; not set: no limit
  /// For how long a refused login is tried again, counted from the first refusal of an outage; 0: not at all,
  /// the first refusal ends the recovery. For credentials that are rotated: the user is deleted, and comes
  /// back. A refusal is 403 (user, password) and 530 (the virtual host is unknown, or not this user's): a
  /// user that comes back has no permissions yet. Each try is logged with its reason.
  std::chrono::milliseconds retry_refused_login{0};
};

/// How long the first connect, which the constructor of Connection makes, is tried.
///
/// By default each endpoint is tried once. With `within`, the endpoints are tried again until that time is
/// up, with the pauses of RecoveryOptions (`initial_delay`, `early_max_delay`, `max_delay`). Permanent errors
/// (a wrong password, an unknown virtual host, a certificate that is refused) end it immediately, if every
/// endpoint fails with one. Each try that fails is logged as a warning.
struct FirstConnectOptions {
  /// How long to try, above 0: the constructor blocks this long at most. Not set: each endpoint is tried
  /// once.
  std::optional<std::chrono::milliseconds> within{};
  /// Once a stop is requested, the constructor throws a ConnectionError that is not permanent, at once.
  std::stop_token stop{};
};

/// How to connect. Where a URI has a parameter for the same setting, the URI wins.
struct ConnectionOptions {
  /// Shown by the management page and in the broker's log (client property `connection_name`). Empty: none.
  std::string name{};
  /// Beside `product`, `version`, `platform` and the capabilities, which are always sent.
  FieldTable client_properties{};
  /// Proposed; the broker may choose a shorter one. A silence of two intervals counts as a lost connection.
  /// 0 turns heartbeats off; at most 65535 s (https://www.rabbitmq.com/docs/heartbeats).
  std::chrono::seconds heartbeat{30};
  /// For connecting and logging in, per endpoint, the resolution of its name included.
  std::chrono::milliseconds connect_timeout{30'000};
  /// The deadline of each call that waits for an answer of the broker's, unless the call has one of its own.
  std::chrono::milliseconds operation_timeout{30'000};
  /// The most that close() and the destructor take.
  std::chrono::milliseconds close_timeout{5'000};
  std::uint16_t channel_max = 2'047;  ///< channels at once, proposed; 0: the broker's own limit
  std::uint32_t frame_max = 131'072;  ///< bytes, proposed; 8192 to 128 MiB
  /// What may wait to be written, in bytes: 256 KiB (also where it is less) to 1 GiB.
  std::size_t outbox_bytes = 1 << 20;
  /// Events below this level are not reported. LogLevel::none turns the log off.
  LogLevel log_level = LogLevel::info;
  /// Called with each log event. If it is not set, warnings and errors are printed to standard error, one
  /// line each: `warren: warning: …`.
  LogCallback on_log{};
  StateCallback on_state{};             ///< not set: only Connection::state tells
  RecoveryOptions recovery{};           ///< what happens once the connection is lost
  FirstConnectOptions first_connect{};  ///< how long the first connect is tried; by default once
};

}  // namespace warren::inline v0
