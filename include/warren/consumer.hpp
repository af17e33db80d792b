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

/// Runs a handler for each message of a queue, on a channel of its own (AMQP `basic.consume`).
///
/// Messages are handled at least once. A message is acknowledged only after its handler returned, or after
/// the broker confirmed its copy in another queue (see RetryPolicy). A message may be redelivered after a
/// crash, a lost connection or a stop. Acknowledgements are sent in groups, within milliseconds.
///
/// All functions except the destructor are thread-safe. A handler may call request_stop() and status() of its
/// own consumer, and all functions of other consumers. In a handler, run(), start(), wait(), wait_for() and
/// stop() of its own consumer throw LogicError. Handlers run with the signal mask of the thread that called
/// run() or start(). Calls on a moved-from Consumer throw LogicError, except request_stop(), which does
/// nothing, and queue(), which returns an empty name.
class WARREN_EXPORT Consumer {
 public:
  /// Makes a consumer of the queue with this name, and declares the missing queues of the retry policy
  /// (RetryPolicy::declare). The consumer receives nothing before run() or start().
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each request to the broker. The connection must
  /// outlive the consumer's runs; otherwise a run ends with ConnectionError. Copies are published over a
  /// second connection, which opens when the first copy is sent.
  ///
  /// A consumer of a stream can't have a delayed policy, a to_queue() policy to its own queue, or a crash
  /// guard: each would append a copy that every reader gets. For such a policy the constructor asks the
  /// broker for the type of the queue, unless this connection declared it. The broker logs that question as a
  /// refused `queue.declare` (406).
  /// @throws InvalidArgument  an option is invalid, or not possible for a stream
  /// @throws ConnectionError, ChannelError, TimeoutError  the policy's queues could not be declared
  Consumer(Connection& connection, std::string_view queue, ConsumerOptions options = {});
  /// Makes a consumer of a declared queue, by its current name (Queue::name). See the constructor with a name
  /// for what is declared.
  /// @throws InvalidArgument  an option is invalid, or not possible for a stream
  /// @throws ConnectionError, ChannelError, TimeoutError  the policy's queues could not be declared
  Consumer(Connection& connection, const Queue& queue, ConsumerOptions options = {});
  /// Stops the consumer like stop(), but never throws. Handlers that do not end in time keep running on their
  /// threads. In a handler of this consumer, the destructor only requests the stop: the consumer drains in
  /// the background, and the message of that handler is settled.
  ~Consumer();
  Consumer(Consumer&&) noexcept;  ///< takes over the other consumer, which is then moved-from
  /// Ends its own consumer as the destructor does, then takes over the other one, which is then moved-from.
  Consumer& operator=(Consumer&&) noexcept;
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// Subscribes and handles messages until `stop` is requested, then drains like stop(). Blocks until the
  /// consumer has ended.
  ///
  /// When a handler returns, its message is acknowledged, or settled by the Outcome that it returns. When a
  /// handler throws, the retry policy decides. Handler describes which functions can be handlers.
  /// @throws LogicError              the consumer already runs, or a handler of this consumer calls run()
  /// @throws ChannelError            404 if the queue does not exist, 403 without permission, 406 for refused
  ///     arguments
  /// @throws ConnectionError         the connection is lost or closed
  /// @throws ConsumerCancelledError  the broker ended the subscription, and the queue is gone
  /// @throws TimeoutError            after a stop, handlers still run or deliveries are unsettled
  /// @throws the handler's exception, if the retry policy is none; the message is requeued
  void run(Handler handler, std::stop_token stop = {});
  /// Subscribes, and handles messages in the background. Returns when the consumer is subscribed. wait()
  /// tells how it ended.
  ///
  /// The consumer starts its threads here. If the system has no thread left, the consumer ends at once, and
  /// wait() throws ConnectionError. If an internal failure such as a lack of memory ends the consumer before
  /// a handler ran, wait() throws it, and the message is requeued.
  ///
  /// Blocks at most ConnectionOptions::operation_timeout for each request to the broker.
  /// @throws LogicError       the consumer already runs, or a handler of this consumer calls start()
  /// @throws ChannelError     404 if the queue does not exist, 403 without permission, 406 for refused
  ///                          arguments
  /// @throws ConnectionError  the connection is lost or closed
  /// @throws TimeoutError     the broker did not answer in time
  void start(Handler handler);
  /// Waits until the consumer has ended, and throws the error that ended it, but only once. After a stop
  /// request it blocks at most `stop_within`, otherwise without a limit. Returns at once if the consumer was
  /// never started.
  /// @throws TimeoutError  after a stop, handlers still run or deliveries are unsettled
  /// @throws LogicError    a handler of this consumer calls wait()
  void wait();
  /// Waits like wait(), but at most `timeout`, and throws what wait() throws.
  /// @returns false if the consumer still runs after `timeout`
  bool wait_for(std::chrono::milliseconds timeout);
  /// Requests a stop and returns at once: no further handler starts, and the consumer drains in the
  /// background (see stop()). Any thread may call it, a handler too, but a signal handler must not. If a
  /// handler calls it, the handler's outcome still settles its message. Does nothing if the consumer does not
  /// run. A later start() begins a new run. Blocks only on an internal lock.
  void request_stop() noexcept;
  /// Ends the subscription (AMQP `basic.cancel`), drains, and closes the channel.
  ///
  /// Draining means that running handlers end and their messages are settled. Messages whose handler has not
  /// started are requeued. With AckMode::manual, stop() also waits for unsettled deliveries, on whatever
  /// thread they are; settling them succeeds until the drain has ended. If the connection is lost during the
  /// drain, stop() does not wait for deliveries, because they can no longer be settled.
  ///
  /// Blocks at most ConsumerOptions::stop_within, counted from the first stop request. Several threads may
  /// call it at the same time. An error that ended the consumer earlier is thrown by wait() only.
  /// @throws TimeoutError  handlers still run or deliveries are unsettled, and the text tells how many; their
  ///                       messages are requeued
  /// @throws LogicError    a handler of this consumer calls stop()
  void stop();

  /// The current state of the consumer, and its counters since it was made. Blocks only on an internal lock.
  [[nodiscard]] ConsumerStatus status() const;
  /// The current name of the consumed queue. Empty for a moved-from Consumer. Blocks only on an internal
  /// lock.
  ///
  /// If the broker chose the name, each recovery of the connection gives the queue another name. For that
  /// reason this returns a copy: another thread may change the name at any time.
  [[nodiscard]] std::string queue() const;

 private:
  struct Impl;

  std::shared_ptr<Impl> impl_;
};

}  // namespace warren::inline v0
