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

/// The one that the options name, else `<queue>_suspect`.
[[nodiscard]] std::string suspect_queue(const std::string& queue, const CrashGuardOptions& options);

/// Finds the message whose handler ends the process, among those that were in flight with it.
///
/// A redelivered message proves nothing: its neighbours are redelivered too, and so is a whole backlog once a
/// broker was killed. It only becomes a suspect, in a queue of its own. There a start is written down before
/// it happens: the message is published again with a count and with who starts it, and what then arrives for
/// the first time is handled. So a count is how often a handler started and never ended.
///
/// Copies with a start written down have priority over those without, so that there is hardly ever more than
/// one a consumer, whatever the length of the queue. Any thread.
class CrashGuard {
 public:
  /// @param queue     the consumer's
  /// @param instance  tells this consumer from all others, those of its process included
  CrashGuard(std::string queue, const CrashGuardOptions& options, std::string instance);

  [[nodiscard]] const std::string& suspect_queue() const noexcept { return suspect_queue_; }
  /// Called ahead of each subscription to the suspect queue: what comes redelivered then may be due to a lost
  /// connection.
  void subscribing() noexcept { ++generation_; }

  enum class Step : std::uint8_t {
    handle,  ///< its start is written down
    record,  ///< write it down: send record(), then acknowledge
    park,    ///< as often as the limit says a handler started, and never ended
  };
  /// What to do with a delivery of the suspect queue.
  [[nodiscard]] Step step(const Delivery& delivery) const;

  /// Of a delivery of the consumer's own queue: to the suspect queue, with nothing counted.
  [[nodiscard]] retry::Copy suspect(const Delivery& delivery) const;
  /// Of the suspect queue: back to it, with a start written down.
  [[nodiscard]] retry::Copy record(const Delivery& delivery) const;
  /// Of the suspect queue, with a start that was written down and did not happen: back to it, without.
  [[nodiscard]] retry::Copy take_back(const Delivery& delivery) const;
  /// Of the suspect queue, after restore(): back to the consumer's own, no suspect any more.
  [[nodiscard]] retry::Copy clear(const Delivery& delivery) const;
  /// How make_copy() is to park it.
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
