#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <warren/consumer_options.hpp>
#include <warren/log.hpp>

#include "consumer/circuit_breaker.hpp"
#include "consumer/crash_guard.hpp"
#include "consumer/handler_watch.hpp"
#include "engine/connection_core.hpp"
#include "retry/republisher.hpp"

namespace warren::inline v0::consumer {

/// Which subscription of a run is meant: that of the consumer's own queue, or that of the crash guard's
/// suspect queue.
enum class Role : std::uint8_t { own, suspects };

/// The data that all runs of a consumer share: its options, its counters, and its circuit breaker and crash
/// guard.
///
/// A run that a stop left behind may outlive the Consumer, and keeps this object alive. Thread-safe.
class Common {
 public:
  using Counter = std::atomic<std::uint64_t>;

  Common(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted);

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return connection->process(); }
  /// The current name of the queue. A queue that the broker named gets another name with each recovery.
  [[nodiscard]] std::string current_queue() const { return connection->topology().current_name(queue); }

  /// Marks the calling thread as one that runs this consumer's handlers.
  void become_worker() const noexcept;
  [[nodiscard]] bool in_handler() const noexcept;
  /// Refuses an operation that would wait for the end of the handler that calls it.
  /// @throws LogicError  the calling thread runs a handler of this consumer
  void refuse_in_handler(const char* operation) const;

  void log(LogLevel level, std::string text) noexcept { connection->events().log(level, std::move(text)); }
  template <std::invocable Make>
  void log(LogLevel level, Make&& make) noexcept {
    connection->events().log(level, std::forward<Make>(make));
  }

  const std::shared_ptr<engine::ConnectionCore> connection;
  const std::string queue;
  const ConsumerOptions options;

  retry::Republisher republisher;
  HandlerWatch watch;
  std::optional<CircuitBreaker> breaker;
  std::optional<CrashGuard> guard;

  std::atomic<std::size_t> handlers{0};
  Counter acked{0};
  Counter retried{0};
  Counter parked{0};
  Counter stale{0};
  Counter ignored{0};
  Counter suspected{0};
};

}  // namespace warren::inline v0::consumer
