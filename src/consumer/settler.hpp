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

/// As much of an error's text as belongs into a log.
[[nodiscard]] std::string excerpt(const std::string& text);

/// Settles the deliveries of one subscription: by the outcome of their handler, or by a copy that it sends
/// first. Counts what it does. Any thread.
class Settler {
 public:
  Settler(Common& common, engine::Subscription& subscription, Role role) noexcept
      : common_(common), subscription_(subscription), role_(role) {}

  /// The handler returned, and did not fail.
  void settle(const Delivery& delivery, Outcome outcome);
  /// The handler failed, which FailureRules ignore.
  void ignore(const Delivery& delivery, const retry::Failure& failure);
  /// The handler failed for the last time here.
  /// @param error  what it threw; null: it returned Outcome::retry
  void fail(const Delivery& delivery, const retry::Failure& failure, const std::exception_ptr& error);
  /// To another try, or to the parked queue.
  void send_copy(const Delivery& delivery, const retry::Failure& failure);
  /// To where the crash guard wants it.
  /// @param counter  of those that arrive there; may be null
  void pass_on(const Delivery& delivery, retry::Copy copy, Common::Counter* counter);
  /// What a stop was faster than. Of a suspect, the start that is written down did not happen.
  void give_back(const Delivery& delivery);
  /// @param settled  else it is stale
  /// @param counter  of those that are settled; may be null
  void count(bool settled, Common::Counter* counter) noexcept;

 private:
  [[nodiscard]] bool transfer(const Delivery& delivery, retry::Copy& copy);
  void settle_original(const Delivery& delivery, bool sent, Common::Counter* counter);

  Common& common_;
  engine::Subscription& subscription_;
  const Role role_;
};

}  // namespace warren::inline v0::consumer
