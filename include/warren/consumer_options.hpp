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

/// Who acknowledges.
enum class AckMode : std::uint8_t {
  after_handler,  ///< the consumer, by the handler's outcome
  manual,  ///< the handler or whoever it passes the Delivery to; an exception is treated as in after_handler
};

/// Finds the message whose handler ends the process, and parks it with reason `crash`: once `limit` starts
/// were written down that never ended, on top of the first one, which nobody wrote down. Needs a retry policy
/// other than none, and AckMode::after_handler.
///
/// A message that comes redelivered was, perhaps, in flight when a consumer died. It is moved to the suspect
/// queue, where each start of the handler is written down (republished, confirmed, acknowledged) before it
/// happens, one message at a time. Its neighbours pass through there once. So does a backlog of a classic
/// queue after a crash of the broker, which marks all of it as redelivered.
struct CrashGuardOptions {
  std::uint32_t limit = 3;      ///< starts that were written down and never ended, from 1
  std::string suspect_queue{};  ///< of this consumer's queue only; empty: `<queue>_suspect`
};

/// Pauses a consumer whose handlers fail, as where a service that they need is down: messages stay in the
/// queue rather than use up their attempts. What opens it is a share of failed runs (those that a retry
/// policy would try again, and those that return Outcome::requeue) among the latest ones. While it is open
/// the subscription is cancelled, and prefetched messages are back in the queue; then one message is fetched,
/// and its outcome closes the circuit, or opens it again; one that is parked for its own sake, or ignored,
/// says nothing, and the next is tried. With a crash guard the suspect queue pauses, too, and one message of
/// each is tried. Not for a queue that is deleted with its last consumer. With a prefetch above 1, messages
/// come redelivered after a pause, which a quorum queue counts towards its delivery limit before RabbitMQ 4.3
/// (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
struct CircuitBreakerOptions {
  double failure_share = 0.5;               ///< of the window, above 0, to 1
  std::uint32_t window = 20;                ///< handler runs that are looked at, from 1
  std::chrono::milliseconds pause{30'000};  ///< how long it stays open
};

/// What a circuit breaker does at a moment.
enum class CircuitState : std::uint8_t {
  closed,     ///< as if there were none
  open,       ///< paused
  half_open,  ///< waits for the outcome of one message
};

/// Called once a consumer has ended by itself, with what ended it; that is what Consumer::wait rethrows. It
/// is called on the connection's thread for events (see LogCallback), never on a worker or on the I/O thread.
/// What it throws is dropped.
using ConsumerEndCallback = std::function<void(std::exception_ptr)>;

/// How a consumer consumes. The default: one handler at a time, 64 messages prefetched, no retry.
struct ConsumerOptions {
  /// Unacknowledged deliveries that the broker sends ahead, from 1 (quorum queues cap it at 2000). The
  /// broker's consumer timeout, 30 minutes by default, counts those that wait here too. It holds on every
  /// queue before RabbitMQ 4.3, and on quorum queues alone from 4.3 on
  /// (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
  std::uint16_t prefetch = 64;
  std::size_t concurrency = 1;  ///< handlers at once, each on a thread of the consumer's, from 1
  RetryPolicy retry{};          ///< what becomes of a message whose handler failed
  AckMode ack_mode = AckMode::after_handler;  ///< who acknowledges
  bool exclusive = false;                     ///< the queue's only consumer; 403 where it has one
  std::optional<std::int32_t> priority{};  ///< `x-priority` (https://www.rabbitmq.com/docs/consumer-priority)
  std::string consumer_tag{};              ///< at most 255 bytes; empty: the broker chooses one
  /// Further arguments, such as `x-stream-offset`. That offset is where a run() or start() begins. After a
  /// reconnect within it the consumer of a stream resumes behind what it received (AckMode::after_handler) or
  /// at the first delivery that is unsettled (AckMode::manual), whatever the offset was.
  FieldTable arguments{};
  /// How long a stop waits for running handlers to end and, with AckMode::manual, for deliveries that are
  /// unsettled. Within `stop_within`.
  std::chrono::milliseconds drain_timeout{20'000};
  FailureRules failures{};  ///< what the handler's exceptions mean, where that is not for the policy to say
  /// A handler that runs for longer is logged as a warning and counted (ConsumerStatus::overdue), and runs
  /// on: a thread can't be ended from outside. Where it fails then, its copy's `retry-reason` is `timeout`.
  /// A run in place counts anew. Not set: no limit.
  std::optional<std::chrono::milliseconds> handler_timeout{};
  std::optional<CrashGuardOptions> crash_guard{};  ///< not set: a message that kills its consumer comes again
  std::optional<CircuitBreakerOptions> circuit_breaker{};  ///< not set: a consumer goes on, whatever fails
  /// The bound for all of a stop, from the first request: draining, and the broker's answers to cancelling
  /// and closing. It holds for Consumer::stop, for a stop of run(), and for the destructor, with a broker
  /// that does not answer, too. Its last fifth, at most 2 s, is for closing and shortens a `drain_timeout`
  /// that is longer. Not set: `drain_timeout` and 4 s, which by default leaves 6 s of the 30 s that
  /// Kubernetes gives (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination), of
  /// which a connection's close may take 5 s.
  std::optional<std::chrono::milliseconds> stop_within{};
  /// Called once the consumer has ended by itself: its queue or connection is gone, or a handler threw and
  /// the retry policy is none. A line at level error is logged, too. Neither happens for a stop that was
  /// asked for, when start() throws, or after the program closed the connection. The next start() may be
  /// called in it. The destructor waits until it has returned, within `stop_within`, unless it is called on
  /// the same thread; after the destructor none begins.
  ConsumerEndCallback on_end{};
  /// `x-stream-filter`, streams of RabbitMQ 3.13 or later: messages with one of these values of
  /// `x-stream-filter-value`. The broker leaves out whole chunks only, so that messages of other values still
  /// come: let the handler look at the header, too (https://www.rabbitmq.com/docs/streams#filtering). Empty:
  /// all messages.
  std::vector<std::string> stream_filter{};
  bool stream_match_unfiltered = false;  ///< `x-stream-match-unfiltered`: messages without a value, too
  /// How long a consumer waits, after a reconnect, for a queue that another program declares; each try is
  /// logged. After that it ends with ChannelError 404. A queue that this connection declared is declared
  /// again at once. The first subscription never waits: run() and start() throw 404.
  std::chrono::milliseconds queue_wait{30'000};
};

/// What a consumer does at a moment.
struct ConsumerStatus {
  bool subscribed = false;    ///< the broker sends it messages
  std::size_t waiting = 0;    ///< deliveries received whose handler has not started
  std::size_t running = 0;    ///< handlers running, a copy that is being sent included
  std::uint64_t acked = 0;    ///< messages acknowledged as handled
  std::uint64_t retried = 0;  ///< copies confirmed on their way to another try
  std::uint64_t parked = 0;   ///< copies confirmed in the parked queue
  /// Outcomes that came too late: their channel was gone, or the broker had cancelled the subscription (as
  /// for a consumer timeout), and the message comes again.
  std::uint64_t stale = 0;
  std::uint64_t ignored = 0;    ///< failures that FailureRules ignored; counted in `acked` too
  std::uint64_t overdue = 0;    ///< handler runs that took longer than `handler_timeout`
  std::uint64_t suspected = 0;  ///< messages moved to the suspect queue (CrashGuardOptions)
  CircuitState circuit = CircuitState::closed;  ///< CircuitBreakerOptions
};

/// The enumerator's name, as `after_handler`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(AckMode mode) noexcept;

/// The enumerator's name, as `closed`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(CircuitState state) noexcept;

}  // namespace warren::inline v0
