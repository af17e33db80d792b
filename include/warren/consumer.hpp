#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <warren/delivery.hpp>
#include <warren/export.hpp>
#include <warren/failure_rules.hpp>
#include <warren/field_table.hpp>
#include <warren/outcome.hpp>
#include <warren/retry_policy.hpp>

namespace warren::inline v0 {

class Connection;

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

/// Called for each message, on threads of the consumer's; `concurrency` at a time.
using Handler = std::function<Outcome(const Delivery&)>;

/// Runs a handler over a queue, on a channel of its own (AMQP `basic.consume`).
///
/// At least once: a message is acknowledged only after its handler returned, or after its copy was confirmed
/// by the broker elsewhere (see RetryPolicy). Acknowledgements are merged and go out within milliseconds. A
/// message may come again: after a crash, a lost connection, a stop. Any thread may call anything, the
/// destructor excepted. A handler may call request_stop() and status(), and anything of other consumers;
/// run(), start(), wait(), wait_for() and stop() of its own consumer throw InvalidArgument there. Handlers
/// have the signal mask of the thread that called run() or start(). Calls on a moved-from Consumer throw
/// InvalidArgument, but for request_stop(), which does nothing.
class WARREN_EXPORT Consumer {
 public:
  /// Declares what the policy needs where it does not exist (RetryPolicy::declare). Nothing is received
  /// before run() or start(). Blocks as RetryPolicy::declare.
  ///
  /// The connection must outlive the runs, or they end with ConnectionError. Copies go over one publishing
  /// connection beside it, opened when first needed.
  /// A stream can't have a delayed policy, a to_queue() policy to itself, or a crash guard: each would append
  /// a copy for every reader. For such a policy the constructor asks the broker what the queue is, unless
  /// this connection declared the queue with a type; the broker logs that question as a refused queue.declare
  /// (406).
  /// @throws InvalidArgument  an option can't be right, or not for a stream
  /// @throws ConnectionError, ChannelError, TimeoutError  the policy's queues could not be declared
  Consumer(Connection& connection, std::string queue, ConsumerOptions options = {});
  /// As stop(), but never throws. A handler that does not end in time is left to its thread. In a handler of
  /// this consumer it only asks for the stop: the consumer drains in the background, and that handler is
  /// settled.
  ~Consumer();
  Consumer(Consumer&&) noexcept;             ///< takes over; the other is moved-from
  Consumer& operator=(Consumer&&) noexcept;  ///< ends what it had, as the destructor; then likewise
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// Subscribes, handles messages until `stop` is requested, then drains as stop(). Blocks for that long.
  ///
  /// A handler that returns acknowledges (or returns an Outcome); one that throws is retried by the policy.
  /// @throws InvalidArgument         it runs already, or this is called in one of its handlers
  /// @throws ChannelError            404 where there is no such queue, 403, 406
  /// @throws ConnectionError         the connection is lost or closed
  /// @throws ConsumerCancelledError  the broker ended the subscription and the queue is gone
  /// @throws TimeoutError            as stop()
  /// @throws what the handler threw, where the policy is none; its message is back in the queue
  template <typename F>
  void run(F&& handler, std::stop_token stop = {}) {
    run_handler(to_handler(std::forward<F>(handler)), std::move(stop));
  }
  /// The same in the background: returns once subscribed. wait() says how it ended.
  ///
  /// The consumer's threads start here. If the system has no thread left, the consumer ends at once, and
  /// wait() throws ConnectionError. A fault of the library's own, such as a lack of memory before a handler
  /// ran, ends the consumer too: wait() throws it, and the message goes back to its queue.
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each of its steps.
  /// @throws InvalidArgument  it runs already, or this is called in one of its handlers
  /// @throws ChannelError, ConnectionError, TimeoutError  as run(), where it can't subscribe
  template <typename F>
  void start(F&& handler) {
    start_handler(to_handler(std::forward<F>(handler)));
  }
  /// Waits until the consumer ends by itself or by a stop, and rethrows what ended it, once. Blocks for that
  /// long; once a stop was asked for, at most `stop_within`. Returns at once if the consumer was never
  /// started.
  /// @throws TimeoutError     as stop()
  /// @throws InvalidArgument  it is called in a handler of this consumer
  void wait();
  /// The same, at most so long; false where it still runs.
  bool wait_for(std::chrono::milliseconds timeout);
  /// Asks for the end, and returns at once: no handler starts any more, and the consumer drains in the
  /// background, as in stop(). Any thread, a handler included, but not a signal handler. A handler that calls
  /// it is settled by its outcome. Does nothing if the consumer does not run; a start() after it begins a new
  /// run. Waits for nothing but a lock.
  void request_stop() noexcept;
  /// Ends the subscription (AMQP `basic.cancel`) and drains: running handlers end and are settled, and what
  /// has not started goes back to the queue. With AckMode::manual it also waits for deliveries that are
  /// unsettled, on whatever thread they are: settling them succeeds until the drain is over. Then the channel
  /// is closed. If the connection is lost meanwhile, it does not wait for deliveries, since nothing can be
  /// settled.
  ///
  /// Blocks at most ConsumerOptions::stop_within, counted from the first request. Several threads may call it
  /// at once. What ended the consumer before is thrown by wait() only.
  /// @throws TimeoutError     a handler still runs, or deliveries are unsettled; the text says how many.
  ///                        Their messages go back to the queue
  /// @throws InvalidArgument  it is called in a handler of this consumer
  void stop();

  /// What it does at the moment, and did since it was made. Never blocks, but for a lock.
  [[nodiscard]] ConsumerStatus status() const;
  /// The queue that it was made for.
  [[nodiscard]] const std::string& queue() const noexcept;

 private:
  struct Impl;

  template <typename F>
  static Handler to_handler(F&& handler) {
    using Result = std::invoke_result_t<std::decay_t<F>&, const Delivery&>;
    if constexpr (std::is_same_v<Result, Outcome>) {
      return Handler(std::forward<F>(handler));
    } else {
      static_assert(std::is_void_v<Result>, "a handler returns nothing or a warren::Outcome");
      return [call = std::forward<F>(handler)](const Delivery& delivery) mutable {
        call(delivery);
        return Outcome::ack;
      };
    }
  }
  void run_handler(Handler handler, std::stop_token stop);
  void start_handler(Handler handler);

  std::shared_ptr<Impl> impl_;
};

}  // namespace warren::inline v0
