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

/// A queue that a policy needs. warren declares it if it does not exist.
struct RetryQueue {
  std::string name{};      ///< 1 to 255 bytes
  QueueOptions options{};  ///< the properties with which warren declares the queue
};

/// What a policy needs on the broker. Use it to declare these things by other means, for example a script.
struct RetryTopology {
  std::string exchange{};               ///< a durable direct exchange; empty means the default exchange
  std::vector<RetryQueue> queues{};     ///< the queues, without the one that is consumed
  std::vector<std::string> bindings{};  ///< the queues to bind to `exchange`, each by its own name
};

/// Decides what happens to a message whose handler failed. A plain value.
///
/// A message is retried later, or parked, by publishing a copy to another queue. The original is acknowledged
/// only after the broker has confirmed the copy. So a message may be delivered twice, but is never lost.
///
/// The README lists the headers of a copy (`retry-id`, `retry-attempt`, `retry-reason`, …). If they do not
/// fit one frame, headers are left out in this order until they fit: `retry-policy`, `retry-host`,
/// `retry-error-type`, `retry-error-message`, `retry-original-user-id`, `retry-original-cc`,
/// `retry-original-expiration`, `retry-last-failure-at`, `retry-due-at`, `retry-original-routing-key`,
/// `retry-original-exchange`. If that is not enough, the message is parked, and more headers are left out if
/// needed.
///
/// A delayed policy publishes the copy to a wait queue, `<queue>_wait_<ms>`. There is one wait queue for each
/// distinct delay. A policy has at most 16 distinct delays, each from 1 ms to 2^32 - 1 ms. When the delay has
/// passed, the broker moves the copy to the end of the consumer's queue. The broker counts in whole
/// milliseconds, so the copy may arrive up to 2 ms too early. The consumer waits for that time before it
/// calls the handler.
///
/// Wait queues are quorum queues, because only quorum queues dead-letter messages safely if the broker
/// crashes (https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).
class WARREN_EXPORT RetryPolicy {
 public:
  /// What the policy does with a failed message. Policies made by fixed(), linear(), exponential(), delays()
  /// and custom() are `delayed`.
  enum class Shape : std::uint8_t { none, immediate, to_queue, delayed };

  /// Makes the policy none().
  RetryPolicy() = default;
  /// Does not retry. An exception that escapes the handler stops the consumer, its message is requeued, and
  /// Consumer::run throws the exception. No queue is declared, and no message is parked.
  [[nodiscard]] static RetryPolicy none();
  /// Calls the handler again in place, without a delay, until the message has had `max_attempts` attempts.
  /// Then the message is parked.
  /// @throws InvalidArgument  max_attempts is 0, a name is above 255 bytes, or another option is invalid
  [[nodiscard]] static RetryPolicy immediate(RetryOptions options = {});
  /// Publishes a failed message to `queue`. A consumer of that queue tries it again, by its own policy.
  /// `queue` may be the queue in which the message failed.
  ///
  /// Attempts are counted for each queue, and the count starts again after each move. So do not let two
  /// queues retry into each other: their messages might never be parked.
  /// @throws InvalidArgument  `queue` is empty or also the parked queue, max_attempts is 0, a name is above
  ///                          255 bytes, or another option is invalid
  [[nodiscard]] static RetryPolicy to_queue(std::string_view queue, RetryOptions options = {});

  /// Makes a delayed policy with one delay for all retries.
  /// @throws InvalidArgument  the delay is not within 1 ms to 2^32 - 1 ms, or an option is invalid
  [[nodiscard]] static RetryPolicy fixed(std::chrono::milliseconds delay, RetryOptions options = {});
  /// Makes a delayed policy with the delays `step`, twice `step`, three times `step`, and so on.
  /// @throws InvalidArgument  a delay is not within 1 ms to 2^32 - 1 ms, an option is invalid, or there are
  ///                          more than 16 distinct delays (set RetryOptions::max_delay)
  [[nodiscard]] static RetryPolicy linear(std::chrono::milliseconds step, RetryOptions options = {});
  /// Makes a delayed policy. The first delay is `initial`, and each further delay is `multiplier` times the
  /// one before, up to `max`.
  ///
  /// ```
  /// warren::RetryPolicy::exponential({.initial = 1s, .max = 1min, .retry = {.max_attempts = 5}})
  /// ```
  /// @throws InvalidArgument  a delay is not within 1 ms to 2^32 - 1 ms, there are more than 16 distinct
  ///                          delays, `multiplier` is below 1, or an option is invalid
  [[nodiscard]] static RetryPolicy exponential(ExponentialOptions options = {});
  /// Makes a delayed policy with these delays, in this order. The last delay applies to all further retries.
  /// @throws InvalidArgument  there is no delay, a delay is not within 1 ms to 2^32 - 1 ms, there are more
  ///                          than 16 distinct delays, or an option is invalid
  [[nodiscard]] static RetryPolicy delays(std::vector<std::chrono::milliseconds> delays,
                                          RetryOptions options = {});
  /// Makes a delayed policy with the delays that a function returns. The function gets the number of the
  /// delayed retry on this queue, from 1. Its result is rounded up to the next of the delays in `declared`.
  ///
  /// The function is called only before custom() returns, once for each possible retry (at most 1000). So the
  /// policy remains a plain value.
  /// @throws InvalidArgument  the function returns more than the longest of `declared`, a delay is not within
  ///                          1 ms to 2^32 - 1 ms, there are more than 16 distinct delays, or an option is
  ///                          invalid
  [[nodiscard]] static RetryPolicy custom(
      const std::function<std::chrono::milliseconds(std::uint32_t)>& delay,
      std::vector<std::chrono::milliseconds> declared, RetryOptions options = {});

  /// What the policy does with a failed message.
  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// The options of the policy. For exponential() these are ExponentialOptions::retry, with the longest delay
  /// in `max_delay`.
  [[nodiscard]] const RetryOptions& options() const noexcept { return options_; }
  /// The queue that to_queue() publishes failed messages to. Empty for other policies.
  [[nodiscard]] const std::string& queue() const noexcept { return queue_; }
  /// The delays of a delayed policy: of the first retry, of the second, and so on. The last delay applies to
  /// all further retries. Runs in place have no delay.
  [[nodiscard]] const std::vector<std::chrono::milliseconds>& schedule() const noexcept { return schedule_; }
  /// The delays in ascending order, without duplicates. Each has a wait queue.
  [[nodiscard]] const std::vector<std::chrono::milliseconds>& distinct_delays() const noexcept {
    return distinct_;
  }
  /// The parked queue for a consumer of `consumed`. Empty for none().
  [[nodiscard]] std::string parked_queue(std::string_view consumed) const;
  /// The wait queue for a consumer of `consumed` and a delay: `<consumed>_wait_<ms>`.
  [[nodiscard]] static std::string wait_queue(std::string_view consumed, std::chrono::milliseconds delay);
  /// The queues, exchange and bindings that a consumer of `consumed` needs. Empty for none().
  /// @throws InvalidArgument  a name is above 255 bytes or begins with `amq.`, or the parked queue is also
  ///                          the consumer's queue, a wait queue or the queue of to_queue()
  [[nodiscard]] RetryTopology topology(std::string_view consumed) const;
  /// Declares what topology() returns. The constructor of Consumer does this, too. Existing queues and
  /// exchanges are left as they are, whatever their arguments.
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each declaration. Any thread.
  /// @throws InvalidArgument  see topology()
  /// @throws ChannelError     403 without permission; 404 if a delayed policy has an exchange and `consumed`
  ///                          does not exist, because that queue must be bound to the exchange
  /// @throws ConnectionError  the connection is lost or closed
  /// @throws TimeoutError     the broker did not answer in time
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

/// Describes a policy in one line, for logs: `to_queue(orders_retry, max_attempts=5)`, `delayed(1s, 2s,
/// max_attempts=3)`.
[[nodiscard]] WARREN_EXPORT std::string to_string(const RetryPolicy& policy);
/// The name of the enumerator, for example `none`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(RetryPolicy::Shape shape) noexcept;

}  // namespace warren::inline v0
