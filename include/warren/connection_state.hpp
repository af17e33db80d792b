#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/export.hpp>

namespace warren::inline v0 {

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

/// Called when a connection's state changes, or when the broker begins or ends blocking it.
///
/// It is called on a thread of the connection's for events, one call at a time, never on its I/O thread. What
/// it throws is dropped. No call begins after the connection's destructor has returned; a call that runs then
/// goes on. If more than 1,024 events wait for a slow callback, the oldest are dropped. If no memory is left,
/// a state event is told without its texts.
using StateCallback = std::function<void(const StateEvent&)>;

/// `connecting`, `open`, `waiting`, `closing`, `closed`, `failed`.
[[nodiscard]] WARREN_EXPORT const char* to_string(ConnectionState state) noexcept;

/// The enumerator's name, as `exchange`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(TopologyEntity entity) noexcept;

}  // namespace warren::inline v0
