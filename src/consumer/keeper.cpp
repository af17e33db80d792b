#include "consumer/keeper.hpp"

#include <fmt/format.h>

#include <exception>
#include <new>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::consumer {

using engine::Subscription;
using Clock = std::chrono::steady_clock;

void Keeper::keep() noexcept {
  for (;;) {
    const bool paused = heeded_ == CircuitState::open;
    const auto event = subscription_.wait(paused ? common_.breaker->probe_at() : Clock::time_point::max());
    if (event == Subscription::Event::ended) return;
    if (event != Subscription::Event::woken) {
      if (role_ == Role::suspects) common_.guard->subscribing();
      common_.republisher.wake();  // a copy that is held must not be sent any more
      restore();
    }
    if (common_.breaker) heed_breaker();
  }
}

// Opens the subscription again after its channel was lost, or after the broker cancelled it
// (https://www.rabbitmq.com/docs/consumer-cancel).
void Keeper::restore() noexcept {
  try {
    subscription_.open_again();
    if (subscription_.is_ending()) return;
    common_.log(LogLevel::info, [&] {
      return subscription_.is_subscribed()
                 ? fmt::format("subscribed to \"{}\" again", subscription_.current_queue())
                 : fmt::format("the subscription to \"{}\" stays paused", subscription_.current_queue());
    });
  } catch (const std::bad_alloc&) {
    subscription_.lack_memory();  // keep() finds it lost and tries again
  } catch (const ConnectionError&) {
    if (common_.connection->has_ended()) subscription_.end(std::current_exception());
  } catch (...) {  // if the broker closed the channel, the subscription already has that reason
    subscription_.end(std::current_exception());
  }
}

// Pauses or resumes the subscription as the circuit breaker says. If the channel is lost meanwhile, keep()
// opens it again and calls this function with the state of that time.
void Keeper::heed_breaker() noexcept {
  // Probe only if the subscription has been paused for the open circuit. Otherwise a probe that failed, and
  // whose pause is over, would look like a probe that is still to come.
  if (heeded_ == CircuitState::open) common_.breaker->probe(Clock::now());
  const CircuitState state = common_.breaker->state();
  // Compare the subscription, too. A lost channel may have interrupted the last change, or a worker may have
  // held the subscription late.
  if (state == heeded_ && subscription_.is_paused() == (state == CircuitState::open)) return;
  try {
    change_to(state);
  } catch (const TimeoutError& error) {
    common_.connection->drop(error.what());
  } catch (const std::bad_alloc&) {
    subscription_.lack_memory();
  } catch (const Error&) {  // the channel was lost during the change, or the run ended
    if (common_.connection->has_ended()) subscription_.end(std::current_exception());
  } catch (...) {
    subscription_.end(std::current_exception());
  }
}

void Keeper::change_to(CircuitState state) {
  if (std::exchange(heeded_, state) != state && role_ == Role::own) tell(state);
  subscription_.pause();
  if (state == CircuitState::open) return;
  if (role_ == Role::suspects) common_.guard->subscribing();
  const bool all = state == CircuitState::closed && role_ == Role::own;
  subscription_.resume(all ? common_.options.prefetch : std::uint16_t{1});
}

void Keeper::tell(CircuitState state) noexcept {
  switch (state) {
    case CircuitState::open:
      return common_.log(LogLevel::warning, [&] {
        return fmt::format("the handlers of \"{}\" fail: paused for {} ms", common_.current_queue(),
                           common_.options.circuit_breaker->pause.count());
      });
    case CircuitState::half_open:
      return common_.log(LogLevel::info, [&] {
        return fmt::format("one message of \"{}\" is tried", common_.current_queue());
      });
    case CircuitState::closed:
      return common_.log(LogLevel::info, [&] {
        return fmt::format("the handlers of \"{}\" succeed again", common_.current_queue());
      });
  }
}

}  // namespace warren::inline v0::consumer
