#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include <warren/consumer_options.hpp>
#include <warren/delivery.hpp>
#include <warren/export.hpp>
#include <warren/handler.hpp>
#include <warren/outcome.hpp>

namespace warren::inline v0 {

class Connection;
class Queue;

/// Runs a handler over a queue, on a channel of its own (AMQP `basic.consume`).
///
/// At least once: a message is acknowledged only after its handler returned, or after its copy was confirmed
/// by the broker elsewhere (see RetryPolicy). Acknowledgements are merged and go out within milliseconds. A
/// message may come again: after a crash, a lost connection, a stop. Any thread may call anything, the
/// destructor excepted. A handler may call request_stop() and status(), and anything of other consumers;
/// run(), start(), wait(), wait_for() and stop() of its own consumer throw LogicError there. Handlers have
/// the signal mask of the thread that called run() or start(). Calls on a moved-from Consumer throw
/// LogicError, but for request_stop(), which does nothing.
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
  Consumer(Connection& connection, std::string_view queue, ConsumerOptions options = {});
  /// Consumes from a queue that was declared, by its current name (Queue::name).
  /// @throws InvalidArgument  an option can't be right, or not for a stream
  /// @throws ConnectionError, ChannelError, TimeoutError  the policy's queues could not be declared
  Consumer(Connection& connection, const Queue& queue, ConsumerOptions options = {});
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
  /// See Handler for what a handler may be.
  /// @throws LogicError              it runs already, or this is called in one of its handlers
  /// @throws ChannelError            404 where there is no such queue, 403, 406
  /// @throws ConnectionError         the connection is lost or closed
  /// @throws ConsumerCancelledError  the broker ended the subscription and the queue is gone
  /// @throws TimeoutError            as stop()
  /// @throws what the handler threw, where the policy is none; its message is back in the queue
  void run(Handler handler, std::stop_token stop = {});
  /// The same in the background: returns once subscribed. wait() says how it ended.
  ///
  /// The consumer's threads start here. If the system has no thread left, the consumer ends at once, and
  /// wait() throws ConnectionError. A fault of the library's own, such as a lack of memory before a handler
  /// ran, ends the consumer too: wait() throws it, and the message goes back to its queue.
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each of its steps.
  /// @throws LogicError  it runs already, or this is called in one of its handlers
  /// @throws ChannelError, ConnectionError, TimeoutError  as run(), where it can't subscribe
  void start(Handler handler);
  /// Waits until the consumer ends by itself or by a stop, and rethrows what ended it, once. Blocks for that
  /// long; once a stop was asked for, at most `stop_within`. Returns at once if the consumer was never
  /// started.
  /// @throws TimeoutError  as stop()
  /// @throws LogicError    it is called in a handler of this consumer
  void wait();
  /// Waits as wait(), but at most for `timeout`. Throws what wait() throws.
  /// @returns false if the consumer still runs then
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
  /// @throws TimeoutError  a handler still runs, or deliveries are unsettled; the text says how many. Their
  ///                       messages go back to the queue
  /// @throws LogicError    it is called in a handler of this consumer
  void stop();

  /// What it does at the moment, and did since it was made. Never blocks, but for a lock.
  [[nodiscard]] ConsumerStatus status() const;
  /// The current name of the queue that it was made for. A queue that the broker named gets another name with
  /// each recovery of its connection. Returns a value, since another thread may change the name at any time.
  /// Never blocks, but for a lock. Empty for a moved-from Consumer.
  [[nodiscard]] std::string queue() const;

 private:
  struct Impl;

  std::shared_ptr<Impl> impl_;
};

}  // namespace warren::inline v0
