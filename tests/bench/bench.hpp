#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <warren/uri.hpp>

#include "meter.hpp"

namespace bench {

enum class Scenario {
  publish_confirmed,
  publish_unconfirmed,
  publish_tls,
  publish_large,
  consume,
  consume_manual,
  round_trip
};

/// One run. Both clients do the same by it.
struct Run {
  Scenario scenario = Scenario::publish_confirmed;
  warren::Endpoint endpoint{};
  std::string queue{};
  bool null_broker = false;    ///< its queues are never empty and need not be filled
  std::uint64_t messages = 0;  ///< measured, over all threads
  std::uint64_t warm_up = 0;   ///< ahead of them, not measured
  std::size_t size = 256;      ///< of a body, in bytes
  std::size_t window = 256;    ///< in flight: unconfirmed, or prefetched
  std::size_t threads = 1;
  std::chrono::seconds heartbeat{0};

  [[nodiscard]] bool publishes_confirmed() const {
    return scenario == Scenario::publish_confirmed || scenario == Scenario::publish_tls ||
           scenario == Scenario::publish_large;
  }
  [[nodiscard]] bool persistent() const { return scenario == Scenario::publish_confirmed; }
  [[nodiscard]] bool manual() const { return scenario == Scenario::consume_manual; }
  /// consume-manual acknowledges so many at once.
  [[nodiscard]] std::uint64_t ack_every() const { return window / 2 == 0 ? 1 : window / 2; }
  /// The bodies that a queue may hold, so that large ones fill neither the broker's memory nor its disk. 0:
  /// any.
  [[nodiscard]] std::int64_t queue_bytes() const {
    return scenario == Scenario::publish_large ? std::int64_t{64} << 20 : 0;
  }
};

/// A queue of a run that was killed does not stay.
inline constexpr std::chrono::minutes queue_expires{10};

/// Shares `count` out over the threads of a run.
[[nodiscard]] constexpr std::uint64_t share(std::uint64_t count, std::size_t threads, std::size_t thread) {
  return count / threads + (thread < count % threads ? 1 : 0);
}

/// Each runs the scenario and throws what went wrong.
void run_warren(const Run& run, Meter& meter);
void run_rabbitmq_c(const Run& run, Meter& meter);

}  // namespace bench
