#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What a handler says of a message by its return value. A handler that returns nothing says `ack`.
enum class Outcome : std::uint8_t {
  ack,    ///< The message was handled. The consumer acknowledges it.
  retry,  ///< The handler failed. The retry policy decides, as if the handler had thrown an exception.
  /// The message can never be handled. With a retry policy it is parked at once, with reason `rejected`, as
  /// if the handler had thrown Park.
  park,
  /// The message goes back to its queue at once (`basic.reject` with requeue). A message that always comes
  /// back spins, until a quorum queue's delivery limit ends it. A stream takes no message back: the handler
  /// runs again after 100 ms, with the same message, which counts as the same attempt.
  requeue,
  /// The message is refused by `basic.nack` without requeue, for queues with a dead-letter exchange. Without
  /// such an exchange the broker deletes it (https://www.rabbitmq.com/docs/dlx). On a stream the message is
  /// acknowledged, and a warning is logged.
  dead_letter,
};

/// Its name: "ack", "retry", "park", "requeue", "dead_letter".
[[nodiscard]] WARREN_EXPORT const char* to_string(Outcome outcome) noexcept;

/// A handler throws it if the message can never be handled. With a retry policy the message is parked at
/// once, with reason `rejected`. Without a policy (RetryPolicy::none) it ends the consumer, as every
/// exception does.
class WARREN_EXPORT Park : public std::runtime_error {
 public:
  /// @param why  goes into the header `retry-error-message`, which is cut at 1 KiB
  explicit Park(const std::string& why);
  ~Park() override;
};

/// A handler throws it if the body is not what it should be. With a retry policy the message is parked at
/// once, with reason `undecodable`. Without a policy (RetryPolicy::none) it ends the consumer.
class WARREN_EXPORT Undecodable : public Park {
 public:
  /// @param why  goes into the header `retry-error-message`, which is cut at 1 KiB
  explicit Undecodable(const std::string& why);
  ~Undecodable() override;
};

}  // namespace warren::inline v0
