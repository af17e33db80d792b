#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/export.hpp>

namespace warren::inline v0 {

/// How much an event matters, ascending.
enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// One thing that happened, for people to read.
struct LogEvent {
  LogLevel level = LogLevel::info;  ///< how much it matters
  std::string text{};               ///< one line, safe to print (see printable()), with no password in it
};

/// What a connection does at a moment.
enum class ConnectionState : std::uint8_t {
  connecting,  ///< logging in, or declaring the topology again
  open,        ///< logged in, all declared
  waiting,     ///< lost; the next try to connect comes after a pause
  closing,     ///< close() has begun
  closed,      ///< by close()
  failed,      ///< lost, and not recovered: not to be helped by trying again, or out of tries
};

/// What a channel declares.
enum class TopologyEntity : std::uint8_t { exchange, queue, binding };

/// One part of the topology that a recovery could not declare again. Names and keys are unchanged: print them
/// through printable().
struct NotRecovered {
  TopologyEntity entity = TopologyEntity::queue;  ///< what it is
  std::string name{};    ///< the exchange's or the queue's name, unchanged; of a binding its destination's
  std::string source{};  ///< of a binding: the exchange that it is from, unchanged
  std::string routing_key{};  ///< of a binding: its key, unchanged
  ErrorDetails error{};       ///< what the broker answered, or why it could not be asked
  /// The connection goes on trying in the background, about once a second: another connection, which may be
  /// the lost one, still holds the queue (405 RESOURCE_LOCKED). Its bindings and its consumers follow it.
  bool pending = false;
};

/// A change of a connection's state, or of its being blocked.
struct StateEvent {
  ConnectionState state = ConnectionState::connecting;  ///< the new one
  /// The broker's reason while it blocks publishing for a resource alarm
  /// (https://www.rabbitmq.com/docs/alarms), safe to print (see printable()).
  std::optional<std::string> blocked{};
  std::optional<ErrorDetails> error{};  ///< why it was lost
  /// What could not be declared again. It comes with the `open` that ends a recovery, and with a further
  /// `open` if a queue that was pending then, or one of its bindings, is refused for good later.
  std::vector<NotRecovered> not_recovered{};
};

/// Called on a thread of the connection's for events, one call at a time, never on its I/O thread. What they
/// throw is dropped. None begins after the connection's destructor has returned; one that runs then goes on.
/// Events are dropped, oldest first, while more than 1,024 wait for a slow callback. A log event that finds
/// no memory is dropped; a state event is told without its texts.
using LogCallback = std::function<void(const LogEvent&)>;
using StateCallback = std::function<void(const StateEvent&)>;

/// `debug`, `info`, `warning`, `error`.
[[nodiscard]] WARREN_EXPORT const char* to_string(LogLevel level) noexcept;
/// `connecting`, `open`, `waiting`, `closing`, `closed`, `failed`.
[[nodiscard]] WARREN_EXPORT const char* to_string(ConnectionState state) noexcept;

}  // namespace warren::inline v0
