#pragma once

#include <exception>
#include <string>

#include <warren/delivery.hpp>
#include <warren/outcome.hpp>

#include "consumer/common.hpp"
#include "engine/subscription.hpp"
#include "retry/copy.hpp"
#include "retry/failure.hpp"

namespace warren::inline v0::consumer {

/// The beginning of an error's text, short enough for a log line.
[[nodiscard]] std::string excerpt(const std::string& text);

/// Settles the deliveries of one subscription, and counts them. It settles a delivery by the outcome of the
/// handler, or sends a copy first. Thread-safe.
class Settler {
 public:
  Settler(Common& common, engine::Subscription& subscription, Role role) noexcept
      : common_(common), subscription_(subscription), role_(role) {}

  /// Settles a delivery whose handler did not fail.
  void settle(const Delivery& delivery, Outcome outcome);
  /// Acknowledges a delivery whose handler failed with an error that FailureRules ignore.
  void ignore(const Delivery& delivery, const retry::Failure& failure);
  /// Settles a delivery whose handler failed and does not run again in place.
  /// @param error  the handler's exception; null if the handler returned Outcome::retry
  void fail(const Delivery& delivery, const retry::Failure& failure, const std::exception_ptr& error);
  /// Sends a copy of a failed message to its next attempt or to the parked queue, then settles the original.
  void send_copy(const Delivery& delivery, const retry::Failure& failure);
  /// Sends a copy that the crash guard made, then settles the original.
  /// @param counter  counts the copies that are confirmed; may be null
  void pass_on(const Delivery& delivery, retry::Copy copy, Common::Counter* counter);
  /// Requeues a delivery whose handler did not start before a stop. For a suspect, the recorded start is
  /// taken back, because it did not happen.
  void give_back(const Delivery& delivery);
  /// Counts a delivery.
  /// @param settled  false if the delivery could not be settled any more, which counts as stale
  /// @param counter  counts the settled deliveries; may be null
  void count(bool settled, Common::Counter* counter) noexcept;

 private:
  [[nodiscard]] bool transfer(const Delivery& delivery, retry::Copy& copy);
  void settle_original(const Delivery& delivery, bool sent, Common::Counter* counter);

  Common& common_;
  engine::Subscription& subscription_;
  const Role role_;
};

}  // namespace warren::inline v0::consumer
