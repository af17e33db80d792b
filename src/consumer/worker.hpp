#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>

#include <warren/consumer_options.hpp>
#include <warren/delivery.hpp>
#include <warren/handler.hpp>
#include <warren/outcome.hpp>

#include "consumer/common.hpp"
#include "consumer/handler_slots.hpp"
#include "consumer/settler.hpp"
#include "engine/subscription.hpp"
#include "retry/failure.hpp"

namespace warren::inline v0::consumer {

/// Takes deliveries of one subscription, runs the handler with each, and has them settled. Each thread has
/// its own worker.
class Worker {
 public:
  /// @param hold  called when the circuit breaker changed its state
  Worker(Common& common, engine::Subscription& subscription, Role role, Handler& handler, HandlerSlots& slots,
         std::function<void()> hold)
      : common_(common),
        subscription_(subscription),
        role_(role),
        handler_(handler),
        slots_(slots),
        hold_(std::move(hold)),
        settler_(common, subscription, role) {}

  /// Blocks until the subscription ends.
  void work() noexcept;

 private:
  // How one run of the handler ended.
  struct Attempt {
    std::optional<Outcome> outcome{};  // not set if the handler threw
    std::exception_ptr error{};
    bool late = false;        // the handler took longer than handler_timeout
    std::uint64_t epoch = 0;  // the breaker's epoch when the handler began
    [[nodiscard]] bool failed() const noexcept {
      return !outcome || *outcome == Outcome::park || *outcome == Outcome::retry;
    }
  };

  void handle(engine::Content& content);
  [[nodiscard]] bool admit(Delivery& delivery);
  void prepare(Delivery& delivery) const;
  void run_handler(Delivery& delivery);
  [[nodiscard]] Attempt run_once(Delivery& delivery, std::uint32_t runs_before);
  [[nodiscard]] bool runs_again_on_stream(const Delivery& delivery, const Attempt& attempt);
  [[nodiscard]] static retry::Failure failure_of(Attempt& attempt, std::uint32_t runs);
  [[nodiscard]] FailureDecision::Action apply_rules(const Attempt& attempt, retry::Failure& failure) noexcept;
  [[nodiscard]] FailureDecision decide(const std::exception_ptr& error) noexcept;
  void judge(bool failed, std::uint64_t epoch);

  Common& common_;
  engine::Subscription& subscription_;
  const Role role_;
  Handler& handler_;
  HandlerSlots& slots_;
  const std::function<void()> hold_;
  Settler settler_;
};

}  // namespace warren::inline v0::consumer
