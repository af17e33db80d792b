#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// The result that a handler returns for its message. A handler that returns nothing means `ack`.
enum class Outcome : std::uint8_t {
  ack,    ///< the message was handled; the consumer acknowledges it
  retry,  ///< the handler failed; the retry policy decides, as if the handler had thrown
  /// The message can never be handled. With a retry policy it is parked at once, with reason `rejected`, as
  /// if the handler had thrown Park.
  park,
  /// The message is requeued at once (`basic.reject` with requeue). A message that is requeued each time
  /// loops without a delay, until the delivery limit of a quorum queue ends the loop. In a stream a message
  /// can't be requeued. There the handler runs again after 100 ms with that message, and this counts as the
  /// same attempt.
  requeue,
  /// The message is dead-lettered (`basic.nack` without requeue). If its queue has no dead-letter exchange,
  /// the broker deletes the message (https://www.rabbitmq.com/docs/dlx). On a stream the message is
  /// acknowledged, and a warning is logged.
  dead_letter,
};

/// The name of the enumerator, for example `ack`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(Outcome outcome) noexcept;

/// A handler throws Park if the message can never be handled. With a retry policy the message is parked at
/// once, with reason `rejected`. Without a policy (RetryPolicy::none) Park ends the consumer, as every
/// exception does.
class WARREN_EXPORT Park : public std::runtime_error {
 public:
  /// @param why  the text for the header `retry-error-message`, which is cut at 1 KiB
  explicit Park(const std::string& why);
  ~Park() override;
};

/// A handler throws Undecodable if it can't decode the body. With a retry policy the message is parked at
/// once, with reason `undecodable`. Without a policy (RetryPolicy::none) Undecodable ends the consumer.
class WARREN_EXPORT Undecodable : public Park {
 public:
  /// @param why  the text for the header `retry-error-message`, which is cut at 1 KiB
  explicit Undecodable(const std::string& why);
  ~Undecodable() override;
};

}  // namespace warren::inline v0
