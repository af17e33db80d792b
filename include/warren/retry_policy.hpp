#pragma once

#include <cstdint>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// How often a policy tries, and where what it gives up on rests.
struct RetryOptions {
  /// Handler runs on the consumer's queue, the first one included; at least 1. Past it a message is parked.
  std::uint32_t max_attempts = 5;
  /// RetryPolicy::to_queue only: further runs in place ahead of each copy; each counts as an attempt.
  std::uint32_t immediate = 0;
  /// The queue for what can't be handled; several policies may share one. Empty: `<queue>_parked`.
  std::string parked_queue{};
  /// A direct exchange for the copies, to which each queue is bound by its own name. Empty: the default
  /// exchange.
  std::string exchange{};
  /// Goes into the header `retry-policy`. Empty: what to_string() says.
  std::string name{};

  friend bool operator==(const RetryOptions&, const RetryOptions&) = default;
};

/// What becomes of a message whose handler failed. A plain value.
///
/// A message is acknowledged only after its copy, sent elsewhere, was itself confirmed by the broker; so it
/// may come twice, but is never lost. The headers of a copy (`retry-id`, `retry-attempt`, `retry-reason`, …)
/// are listed in the README.
class WARREN_EXPORT RetryPolicy {
 public:
  enum class Shape : std::uint8_t { none, immediate, to_queue };

  /// The same as none().
  RetryPolicy() = default;
  /// An exception that escapes the handler stops the consumer, the message goes back to its queue, and
  /// Consumer::run rethrows. No queue is declared, nothing is parked.
  [[nodiscard]] static RetryPolicy none();
  /// Tries in place, up to the maximum of attempts; then parks.
  /// @throws InvalidArgument  max_attempts is 0, or a name is above 255 bytes
  [[nodiscard]] static RetryPolicy immediate(RetryOptions options = {});
  /// A failed message is published to `queue`, where another consumer (or this one, where it is the
  /// consumer's own queue) tries it again, by a policy of its own. Attempts are counted per queue, anew after
  /// each move: do not let two queues retry into each other.
  /// @throws InvalidArgument  as immediate(), or `queue` is empty, or the parked queue is the same
  [[nodiscard]] static RetryPolicy to_queue(std::string queue, RetryOptions options = {});

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] const RetryOptions& options() const noexcept { return options_; }
  /// Of to_queue(): where failed messages go; else empty.
  [[nodiscard]] const std::string& queue() const noexcept { return queue_; }
  /// The parked queue of a consumer of `consumed`; empty for none().
  [[nodiscard]] std::string parked_queue(const std::string& consumed) const;
  /// For logs: `to_queue(orders_retry, max_attempts=5)`.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;

 private:
  RetryPolicy(Shape shape, std::string queue, RetryOptions options);

  Shape shape_ = Shape::none;
  std::string queue_;
  RetryOptions options_;
};

}  // namespace warren::inline v0
