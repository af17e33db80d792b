#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include <warren/consumer.hpp>
#include <warren/delivery.hpp>

#include "retry/copy.hpp"
#include "retry/failure.hpp"

namespace warren::inline v0::consumer {

/// The name of the suspect queue: the one in the options, or `<queue>_suspect`.
[[nodiscard]] std::string suspect_queue(const std::string& queue, const CrashGuardOptions& options);

/// Finds the message whose handler crashes the process, among the messages that were in flight.
///
/// A redelivered message need not be the cause of a crash: all messages in flight are redelivered, and so is
/// a whole backlog after a crash of the broker. Therefore a redelivered message only moves to the suspect
/// queue. There each start of its handler is recorded before it happens. The message is published again with
/// a count and with the consumer that starts the handler. The handler runs when this copy arrives for the
/// first time. The count is therefore the number of starts that never ended.
///
/// Copies with a recorded start have a higher priority than the others. A consumer therefore rarely has more
/// than one of them in the queue, however long the queue is. Thread-safe.
class CrashGuard {
 public:
  /// @param queue     the consumer's queue
  /// @param instance  a text that no other consumer has, in this process or in another one
  CrashGuard(std::string queue, const CrashGuardOptions& options, std::string instance);

  [[nodiscard]] const std::string& suspect_queue() const noexcept { return suspect_queue_; }
  /// Begins another generation. The consumer calls this before each subscription to the suspect queue. A
  /// start of an earlier generation that is redelivered may be due to a lost connection, not to a crash.
  void subscribing() noexcept { ++generation_; }

  enum class Step : std::uint8_t {
    handle,  ///< run the handler: its start is recorded
    record,  ///< record the start: send the copy of record(), then acknowledge the original
    park,    ///< park the message: its recorded starts that never ended have reached the limit
  };
  /// The next step for a delivery of the suspect queue.
  [[nodiscard]] Step step(const Delivery& delivery) const;

  /// A copy for the suspect queue without a recorded start.
  /// @param delivery  of the consumer's own queue
  [[nodiscard]] retry::Copy suspect(const Delivery& delivery) const;
  /// A copy for the suspect queue with one more recorded start.
  /// @param delivery  of the suspect queue
  [[nodiscard]] retry::Copy record(const Delivery& delivery) const;
  /// A copy for the suspect queue with one recorded start less, because that start did not happen.
  /// @param delivery  of the suspect queue
  [[nodiscard]] retry::Copy take_back(const Delivery& delivery) const;
  /// A copy for the consumer's own queue, without recorded starts.
  /// @param delivery  of the suspect queue, after restore()
  [[nodiscard]] retry::Copy clear(const Delivery& delivery) const;
  /// The failure with which make_copy() parks the message.
  [[nodiscard]] static retry::Failure crash(const Delivery& delivery);
  /// Gives the message its own priority back.
  static void restore(Delivery& delivery);

 private:
  [[nodiscard]] std::string started_by() const;
  [[nodiscard]] retry::Copy copy(const Delivery& delivery, std::int64_t starts, bool recorded) const;

  const std::string queue_;
  const std::string suspect_queue_;
  const std::uint32_t limit_;
  const std::string instance_;
  std::atomic<std::uint64_t> generation_{0};
};

}  // namespace warren::inline v0::consumer
