#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/export.hpp>

namespace warren::inline v0 {

/// The state of a connection.
enum class ConnectionState : std::uint8_t {
  connecting,  ///< it connects and logs in, or declares the topology again
  open,        ///< it is logged in and the topology is declared
  waiting,     ///< it was lost, and waits for the backoff to pass before it reconnects
  closing,     ///< close() was called
  closed,      ///< close() has finished
  failed,      ///< it was lost and recovery has ended: a permanent error, or out of attempts
};

/// A kind of topology object that a channel can declare.
enum class TopologyEntity : std::uint8_t { exchange, queue, binding };

/// A part of the topology that recovery could not declare again. Print names and keys through printable(),
/// because they are given unchanged.
struct NotRecovered {
  TopologyEntity entity = TopologyEntity::queue;  ///< the kind of the part
  std::string name{};         ///< the name of the exchange or queue; of a binding, its destination
  std::string source{};       ///< of a binding: its source exchange
  std::string routing_key{};  ///< of a binding: its routing key
  ErrorDetails error{};       ///< the broker's refusal, or why the broker could not be asked
  /// The connection keeps trying in the background, about once a second, because another connection still
  /// holds the queue (405 RESOURCE_LOCKED). That may be the lost connection. The queue's bindings and
  /// consumers follow when it is declared.
  bool pending = false;
};

/// A change of a connection's state, or of whether the broker blocks it.
struct StateEvent {
  ConnectionState state = ConnectionState::connecting;  ///< the new state
  /// The broker's reason, safe to print, while it blocks publishing for a resource alarm
  /// (https://www.rabbitmq.com/docs/alarms).
  std::optional<std::string> blocked{};
  std::optional<ErrorDetails> error{};  ///< why the connection was lost
  /// What recovery could not declare again. It comes with the state `open` that ends a recovery. A further
  /// event with state `open` follows if the broker later refuses a queue that was pending, or one of its
  /// bindings.
  std::vector<NotRecovered> not_recovered{};
};

/// Called when a connection's state changes, or when the broker begins or ends blocking it.
///
/// It is called on the connection's thread for events, one call at a time, never on its I/O thread. An
/// exception that it throws is dropped. No call begins after the connection's destructor has returned; a call
/// that is already running continues. If more than 1,024 events wait for a slow callback, the oldest are
/// dropped. If no memory is left, a state event is told without its texts.
using StateCallback = std::function<void(const StateEvent&)>;

/// The name of the enumerator, for example `open`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(ConnectionState state) noexcept;

/// The name of the enumerator, for example `exchange`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(TopologyEntity entity) noexcept;

}  // namespace warren::inline v0
