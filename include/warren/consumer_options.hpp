#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <warren/export.hpp>
#include <warren/failure_rules.hpp>
#include <warren/field_table.hpp>
#include <warren/retry_policy.hpp>

namespace warren::inline v0 {

/// Whether the consumer or the handler acknowledges messages.
enum class AckMode : std::uint8_t {
  after_handler,  ///< the consumer acknowledges, as the handler's outcome says
  /// The program acknowledges each Delivery itself, in the handler or later. An exception that escapes the
  /// handler goes to the retry policy, if the delivery is not settled yet.
  manual,
};

/// Finds a message whose handler crashes the process, and parks it with the reason `crash`.
///
/// A redelivered message may have been in flight when a consumer died. The guard moves it to the suspect
/// queue. There the handler runs for one message at a time. Before each run the guard publishes a copy with a
/// higher count, waits for the confirm, and acknowledges the original. So the message records each start of
/// the handler. The guard parks the message after `limit` recorded starts that never ended. The first start
/// was in the consumer's own queue and is not recorded. Messages that were in flight together with the
/// crashing message pass through the suspect queue once. So does the backlog of a classic queue after a crash
/// of the broker, which marks all messages as redelivered.
///
/// The guard needs a retry policy other than none, and AckMode::after_handler.
struct CrashGuardOptions {
  std::uint32_t limit = 3;      ///< recorded starts that never ended, from 1
  std::string suspect_queue{};  ///< used for this consumer's queue only; empty means `<queue>_suspect`
};

/// Pauses a consumer while its handlers fail, for example because a service that they need is down. Messages
/// stay in the queue and do not use up their attempts.
///
/// The circuit opens when the share of failed runs among the latest `window` runs reaches `failure_share`. A
/// run counts as failed if the retry policy would retry it, or if it returns Outcome::requeue. While the
/// circuit is open, the subscription is cancelled and prefetched messages are requeued. After `pause` the
/// consumer fetches one message. Its success closes the circuit, and its failure opens the circuit again. If
/// that message is parked or ignored, the consumer tries the next one.
///
/// With a crash guard, the suspect queue pauses as well, and one message of each queue is tried. Do not use a
/// circuit breaker for a queue that is deleted with its last consumer. With a prefetch above 1, messages are
/// redelivered after a pause. A quorum queue before RabbitMQ 4.3 counts that towards its delivery limit
/// (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
struct CircuitBreakerOptions {
  double failure_share = 0.5;  ///< the share of failed runs that opens the circuit, above 0 and at most 1
  std::uint32_t window = 20;   ///< the number of latest handler runs that count, from 1
  std::chrono::milliseconds pause{30'000};  ///< how long the circuit stays open
};

/// The state of a circuit breaker.
enum class CircuitState : std::uint8_t {
  closed,     ///< the consumer runs normally
  open,       ///< the consumer is paused
  half_open,  ///< the consumer waits for the outcome of one message
};

/// Called when a consumer has ended by itself, with the exception that Consumer::wait rethrows.
///
/// It is called on the connection's thread for events (see LogCallback), never on a handler's thread or on
/// the I/O thread. An exception that it throws is dropped.
using ConsumerEndCallback = std::function<void(std::exception_ptr)>;

/// The settings of a Consumer. By default it runs one handler at a time, prefetches 64 messages and does not
/// retry.
struct ConsumerOptions {
  /// The most unacknowledged deliveries, from 1; quorum queues cap it at 2000. The broker's consumer timeout,
  /// 30 minutes by default, also counts deliveries that wait here for a handler. Before RabbitMQ 4.3 the
  /// timeout applies to all queues, and from 4.3 on to quorum queues only
  /// (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
  std::uint16_t prefetch = 64;
  /// The most handlers that run at the same time, each on its own thread, from 1.
  std::size_t concurrency = 1;
  RetryPolicy retry{};                        ///< what happens to a message whose handler failed
  AckMode ack_mode = AckMode::after_handler;  ///< whether the consumer or the handler acknowledges
  bool exclusive = false;  ///< no other consumer may use the queue; 403 if it already has a consumer
  std::optional<std::int32_t> priority{};  ///< `x-priority` (https://www.rabbitmq.com/docs/consumer-priority)
  std::string consumer_tag{};              ///< at most 255 bytes; empty means that the broker chooses one
  /// Further arguments of `basic.consume`, for example `x-stream-offset`. Each run() or start() begins at
  /// that offset. After a reconnect, the consumer of a stream resumes after the last message that it received
  /// (AckMode::after_handler), or at the first unsettled delivery (AckMode::manual).
  FieldTable arguments{};
  /// How long a stop waits for running handlers and, with AckMode::manual, for unsettled deliveries. It is
  /// part of `stop_within`.
  std::chrono::milliseconds drain_timeout{20'000};
  FailureRules failures{};  ///< what the handler's exceptions mean; the retry policy decides about all others
  /// A handler that runs longer than this is logged as a warning and counted (ConsumerStatus::overdue). The
  /// handler is not interrupted. If it fails afterwards, the `retry-reason` of its copy is `timeout`. Each
  /// run in place has the whole time again. Not set means no limit.
  std::optional<std::chrono::milliseconds> handler_timeout{};
  /// If not set, a message that crashes its consumer is redelivered each time.
  std::optional<CrashGuardOptions> crash_guard{};
  std::optional<CircuitBreakerOptions> circuit_breaker{};  ///< if not set, the consumer never pauses
  /// The longest time that a stop takes, counted from the first request. It covers draining and the broker's
  /// answers to `basic.cancel` and `channel.close`. It applies to Consumer::stop, to a stop of run() and to
  /// the destructor, even if the broker does not answer. The last fifth, at most 2 s, is reserved for
  /// closing, and shortens a longer `drain_timeout`.
  ///
  /// Not set means `drain_timeout` plus 4 s, which is 24 s by default. Kubernetes kills a process after 30 s
  /// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination), and closing a
  /// connection may take another 5 s.
  std::optional<std::chrono::milliseconds> stop_within{};
  /// Called when the consumer has ended by itself: its queue or connection is gone, or a handler threw and
  /// the retry policy is none. The end is also logged at level error. The callback is not called after a
  /// requested stop, when start() throws, or after the program closed the connection. It may call start()
  /// again.
  ///
  /// The destructor of Consumer waits for the callback, at most `stop_within`, unless the destructor runs on
  /// the thread for events. No callback begins after the destructor has returned.
  ConsumerEndCallback on_end{};
  /// `x-stream-filter`, streams from RabbitMQ 3.13 on: only messages whose `x-stream-filter-value` is one of
  /// these. Empty means all messages. The broker skips whole chunks only, so some messages with other values
  /// are still delivered: the handler must check the header
  /// (https://www.rabbitmq.com/docs/streams#filtering).
  std::vector<std::string> stream_filter{};
  bool stream_match_unfiltered = false;  ///< `x-stream-match-unfiltered`: also messages without a value
  /// How long a consumer waits after a reconnect for a missing queue that another program declares. Each
  /// attempt is logged. After this time the consumer ends with ChannelError 404. A queue that this connection
  /// declared is declared again at once. The first subscription does not wait: run() and start() throw
  /// ChannelError 404.
  std::chrono::milliseconds queue_wait{30'000};
};

/// A snapshot of a consumer's state and counters.
struct ConsumerStatus {
  bool subscribed = false;    ///< the consumer has a subscription
  std::size_t waiting = 0;    ///< deliveries received that wait for a handler
  std::size_t running = 0;    ///< handlers that run, including those whose copy is being sent
  std::uint64_t acked = 0;    ///< messages acknowledged after their handler succeeded
  std::uint64_t retried = 0;  ///< copies confirmed for another attempt
  std::uint64_t parked = 0;   ///< copies confirmed in the parked queue
  /// Outcomes that came too late, because the channel was lost or the broker had cancelled the subscription
  /// (for example after a consumer timeout). These messages are redelivered.
  std::uint64_t stale = 0;
  std::uint64_t ignored = 0;    ///< failures that FailureRules ignored; `acked` counts them as well
  std::uint64_t overdue = 0;    ///< handler runs longer than ConsumerOptions::handler_timeout
  std::uint64_t suspected = 0;  ///< messages moved to the suspect queue (CrashGuardOptions)
  CircuitState circuit = CircuitState::closed;  ///< the state of the circuit breaker
};

/// The name of the enumerator, for example `after_handler`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(AckMode mode) noexcept;

/// The name of the enumerator, for example `closed`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(CircuitState state) noexcept;

}  // namespace warren::inline v0
