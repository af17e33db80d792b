#pragma once

#include <warren/consumer_options.hpp>

#include "consumer/common.hpp"
#include "engine/subscription.hpp"

namespace warren::inline v0::consumer {

/// Keeps one subscription alive, on a thread of its own. It opens another channel if one was lost. It pauses
/// and resumes the subscription as the circuit breaker says.
class Keeper {
 public:
  Keeper(Common& common, engine::Subscription& subscription, Role role) noexcept
      : common_(common), subscription_(subscription), role_(role) {}

  /// Blocks until the subscription has ended.
  void keep() noexcept;

 private:
  void restore() noexcept;
  void heed_breaker() noexcept;
  void change_to(CircuitState state);
  void tell(CircuitState state) noexcept;

  Common& common_;
  engine::Subscription& subscription_;
  const Role role_;
  CircuitState heeded_ = CircuitState::closed;  // the state that the subscription was set to
};

}  // namespace warren::inline v0::consumer
