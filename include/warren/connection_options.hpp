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

/// How a lost connection recovers (https://www.rabbitmq.com/docs/reliability#connection-recovery).
///
/// The first connect has its own options, see FirstConnectOptions.
struct RecoveryOptions {
  bool enabled = true;  ///< if false, a lost connection ends in ConnectionState::failed
  /// The delay before the first attempt. It doubles with each further attempt (exponential backoff). Each
  /// delay is shortened at random, to no less than half, so that many clients do not reconnect at the same
  /// moment.
  std::chrono::milliseconds initial_delay{100};
  std::chrono::milliseconds early_max_delay{800};  ///< the longest delay in the first minute of an outage
  std::chrono::milliseconds max_delay{30'000};     ///< the longest delay after the first minute
  /// After this time without a loss, the backoff starts again at `initial_delay`.
  std::chrono::milliseconds stable_after{10'000};
  /// The most attempts in one outage, each over all endpoints; not set means no limit.
  std::optional<std::uint32_t> max_tries{};
  /// Recovery ends after this time; not set means no limit.
  std::optional<std::chrono::milliseconds> give_up_after{};
  /// How long a refused login is tried again, counted from the first refusal of an outage. 0 means that the
  /// first refusal ends recovery. Use it for credentials that are rotated: the user is deleted for a moment
  /// and then created again without permissions. A refused login is 403 (user or password) or 530 (unknown
  /// virtual host, or no permission for it). Each attempt is logged with its reason.
  std::chrono::milliseconds retry_refused_login{0};
};

/// How long the constructor of Connection tries the first connect.
///
/// By default each endpoint is tried once. If `within` is set, the endpoints are tried again until that time
/// has passed, with the backoff of RecoveryOptions (`initial_delay`, `early_max_delay`, `max_delay`). If
/// every endpoint fails with a permanent error (a wrong password, an unknown virtual host, a refused
/// certificate), the first connect ends immediately. Each failed attempt is logged as a warning.
struct FirstConnectOptions {
  /// The longest time that the constructor blocks, above 0. Not set means that each endpoint is tried once.
  std::optional<std::chrono::milliseconds> within{};
  /// When a stop is requested, the constructor throws a transient ConnectionError at once.
  std::stop_token stop{};
};

/// The settings of a connection. A parameter of the URI takes precedence over the same setting here.
struct ConnectionOptions {
  /// The name that the management page and the broker's log show (client property `connection_name`). Empty
  /// means none.
  std::string name{};
  /// Further client properties. `product`, `version`, `platform` and the capabilities are always sent.
  FieldTable client_properties{};
  /// The heartbeat interval that the client proposes; the broker may choose a shorter one. If the broker
  /// sends nothing for two intervals, the connection counts as lost. 0 turns heartbeats off; the most is
  /// 65535 s (https://www.rabbitmq.com/docs/heartbeats).
  std::chrono::seconds heartbeat{30};
  /// The deadline for resolving the name, connecting and logging in, for each endpoint.
  std::chrono::milliseconds connect_timeout{30'000};
  /// The deadline of each call that waits for the broker's answer, unless the call has its own timeout.
  std::chrono::milliseconds operation_timeout{30'000};
  /// The longest time that close() and the destructor take.
  std::chrono::milliseconds close_timeout{5'000};
  /// The most open channels, proposed to the broker; 0 means the broker's limit.
  std::uint16_t channel_max = 2'047;
  std::uint32_t frame_max = 131'072;  ///< the largest frame in bytes, proposed to the broker; 8192 to 128 MiB
  /// The most bytes that wait to be written. The range is 256 KiB to 1 GiB; a smaller value counts as 256
  /// KiB.
  std::size_t outbox_bytes = 1 << 20;
  LogLevel log_level = LogLevel::info;  ///< events of a lower level are not reported; none turns the log off
  /// Called for each log event. If it is not set, warnings and errors are printed to standard error, one line
  /// each: `warren: warning: …`.
  LogCallback on_log{};
  StateCallback on_state{};  ///< called on each change of state; if not set, only Connection::state tells it
  RecoveryOptions recovery{};           ///< how the connection recovers after a loss
  FirstConnectOptions first_connect{};  ///< how long the first connect is tried; by default once
};

}  // namespace warren::inline v0
