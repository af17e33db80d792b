#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <warren/export.hpp>
#include <warren/queue_options.hpp>
#include <warren/retry_options.hpp>

namespace warren::inline v0 {

class Connection;

/// A queue that a policy needs, as warren declares it where it does not exist.
struct RetryQueue {
  std::string name{};      ///< 1 to 255 bytes
  QueueOptions options{};  ///< to declare it with
};

/// What a policy needs of the broker, for whoever declares it by other means.
struct RetryTopology {
  std::string exchange{};               ///< durable and direct; empty: the default one
  std::vector<RetryQueue> queues{};     ///< beside the queue that is consumed
  std::vector<std::string> bindings{};  ///< queues that are bound to `exchange`, each by its own name
};

/// What becomes of a message whose handler failed. A plain value.
///
/// A message is acknowledged only after its copy, sent elsewhere, was itself confirmed by the broker; so it
/// may come twice, but is never lost. The headers of a copy (`retry-id`, `retry-attempt`, `retry-reason`, …)
/// are listed in the README. If they do not fit one frame, a copy goes without the least needed of them, in
/// this order: `retry-policy`, `retry-host`, `retry-error-type`, `retry-error-message`,
/// `retry-original-user-id`, `-cc`, `-expiration`, `retry-last-failure-at`, `retry-due-at`,
/// `retry-original-routing-key`, `-exchange`. If that is not enough, it is parked without the others.
///
/// The delayed policies send the copy to a wait queue, one for each distinct delay, `<queue>_wait_<ms>`: a
/// quorum queue, which alone keeps what it dead-letters through a crash of the broker
/// (https://www.rabbitmq.com/docs/quorum-queues#dead-lettering). Once the delay is over, the broker puts it
/// back into the consumer's queue, at its end; the up to 2 ms that its clock of whole milliseconds cuts, the
/// worker that takes the copy waits ahead of the handler. Delays are 1 ms to 2^32 - 1 ms, at most 16 distinct
/// ones.
class WARREN_EXPORT RetryPolicy {
 public:
  /// What it does with a message that failed. All of fixed(), linear(), exponential(), delays() and custom()
  /// are delayed.
  enum class Shape : std::uint8_t { none, immediate, to_queue, delayed };

  /// The same as none().
  RetryPolicy() = default;
  /// An exception that escapes the handler stops the consumer, the message goes back to its queue, and
  /// Consumer::run rethrows. No queue is declared, nothing is parked.
  [[nodiscard]] static RetryPolicy none();
  /// Tries in place, up to the maximum of attempts; then parks.
  /// @throws InvalidArgument  max_attempts is 0, a name is above 255 bytes, or another option can't be right
  [[nodiscard]] static RetryPolicy immediate(RetryOptions options = {});
  /// A failed message is published to `queue`, where another consumer (or this one, where it is the
  /// consumer's own queue) tries it again, by a policy of its own. Attempts are counted per queue, anew after
  /// each move: do not let two queues retry into each other.
  /// @throws InvalidArgument  as immediate(), or `queue` is empty, or the parked queue is the same
  [[nodiscard]] static RetryPolicy to_queue(std::string_view queue, RetryOptions options = {});

  /// Delayed: always by the same time.
  /// @throws InvalidArgument  as immediate(), or a delay is out of bounds; so do the following ones
  [[nodiscard]] static RetryPolicy fixed(std::chrono::milliseconds delay, RetryOptions options = {});
  /// Delayed: by `step`, twice `step`, three times `step` …
  /// @throws InvalidArgument  as fixed(), or more than 16 distinct delays: set max_delay
  [[nodiscard]] static RetryPolicy linear(std::chrono::milliseconds step, RetryOptions options = {});
  /// Delayed: by `initial`, then each time `multiplier` times as long, up to `max`.
  ///
  /// ```
  /// warren::RetryPolicy::exponential({.initial = 1s, .max = 1min, .retry = {.max_attempts = 5}})
  /// ```
  [[nodiscard]] static RetryPolicy exponential(ExponentialOptions options = {});
  /// Delayed: by each of these in turn, and by the last one from then on.
  [[nodiscard]] static RetryPolicy delays(std::vector<std::chrono::milliseconds> delays,
                                          RetryOptions options = {});
  /// Delayed: by what the function says, which is given 1 after the first failure (of a message on this
  /// queue), 2 after the second …, rounded up to the next of `declared`.
  ///
  /// Asked here, for the attempts there are (the first 1000), and not kept: the policy stays a value.
  /// @throws InvalidArgument  as fixed(), or the function says more than the longest of `declared`
  [[nodiscard]] static RetryPolicy custom(
      const std::function<std::chrono::milliseconds(std::uint32_t)>& delay,
      std::vector<std::chrono::milliseconds> declared, RetryOptions options = {});

  /// What it does with a message that failed.
  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// The options that the policy was made with; of exponential() ExponentialOptions::retry, whose `max_delay`
  /// is then the cap.
  [[nodiscard]] const RetryOptions& options() const noexcept { return options_; }
  /// Of to_queue(): where failed messages go; else empty.
  [[nodiscard]] const std::string& queue() const noexcept { return queue_; }
  /// Of a delayed policy: the delay after the first failure, the second …; the last one stands for all later
  /// ones. Runs in place have none.
  [[nodiscard]] const std::vector<std::chrono::milliseconds>& schedule() const noexcept { return schedule_; }
  /// The delays that there are wait queues for, ascending.
  [[nodiscard]] const std::vector<std::chrono::milliseconds>& distinct_delays() const noexcept {
    return distinct_;
  }
  /// The parked queue of a consumer of `consumed`; empty for none().
  [[nodiscard]] std::string parked_queue(std::string_view consumed) const;
  /// The wait queue of a consumer of `consumed` for a delay: `<consumed>_wait_<ms>`.
  [[nodiscard]] static std::string wait_queue(std::string_view consumed, std::chrono::milliseconds delay);
  /// What a consumer of `consumed` needs. Nothing for none().
  /// @throws InvalidArgument  a name is above 255 bytes, or the parked queue is one that messages leave again
  [[nodiscard]] RetryTopology topology(std::string_view consumed) const;
  /// Declares that, as Consumer does when it is made. What exists is left as it is, whatever its arguments.
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each of its steps. Any thread.
  /// @throws InvalidArgument  as topology()
  /// @throws ChannelError     404 where an exchange is named and the consumer's own queue, to be bound to it,
  ///                          does not exist; 403 without permission
  /// @throws ConnectionError, TimeoutError
  void declare(Connection& connection, std::string_view consumed) const;

  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;

 private:
  using Delays = std::vector<std::chrono::milliseconds>;
  RetryPolicy(Shape shape, std::string queue, RetryOptions options);
  RetryPolicy(Delays schedule, const Delays& declared, RetryOptions options);

  Shape shape_ = Shape::none;
  std::string queue_;
  RetryOptions options_;
  Delays schedule_;
  Delays distinct_;
};

/// A policy as one line for logs: `to_queue(orders_retry, max_attempts=5)`, `delayed(1s, 2s,
/// max_attempts=3)`.
[[nodiscard]] WARREN_EXPORT std::string to_string(const RetryPolicy& policy);
/// The name of the enumerator, for example `none`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(RetryPolicy::Shape shape) noexcept;

}  // namespace warren::inline v0
