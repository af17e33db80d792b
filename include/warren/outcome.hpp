#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What a handler says of a message, where it says so by returning a value.
enum class Outcome : std::uint8_t {
  ack,     ///< handled: acknowledged
  retry,   ///< failed: as if the handler had thrown
  reject,  ///< can never be handled: as if it had thrown Reject
  /// Back to its queue at once (`basic.reject` with requeue). A message that always comes back spins, until a
  /// quorum queue's delivery limit ends it. A stream takes no message back: the handler runs again after 100
  /// ms, with the same message, which counts as the same attempt.
  requeue,
  /// `basic.nack` without requeue: for queues with a dead-letter exchange. Elsewhere the broker deletes it
  /// (https://www.rabbitmq.com/docs/dlx). On a stream the message is acknowledged, and a warning is logged.
  dead_letter,
};

/// Thrown by a handler: this message can never be handled. With a retry policy it is parked at once, with
/// reason `rejected`; without one (none) it ends the consumer, as every exception does.
class WARREN_EXPORT Reject : public std::runtime_error {
 public:
  /// @param why  goes into the header `retry-error-message`, cut at 1 KiB
  explicit Reject(const std::string& why);
  ~Reject() override;
};

/// Thrown by a handler: the body is not what it should be. As Reject, with reason `undecodable`.
class WARREN_EXPORT Undecodable : public Reject {
 public:
  /// @param why  as of Reject
  explicit Undecodable(const std::string& why);
  ~Undecodable() override;
};

/// The enumerator's name, as `ack`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(Outcome outcome) noexcept;

}  // namespace warren::inline v0
