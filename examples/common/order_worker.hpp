#pragma once

// What the orders consumer and the retry consumer have in common: all but their queue and their policy.

#include <cstdint>
#include <optional>
#include <string>

#include "common/program.hpp"

namespace examples {

struct WorkerOptions {
  double failure_rate = 0.5;
  std::optional<std::uint64_t> seed{};
  std::uint16_t prefetch = 64;
  std::size_t concurrency = 1;
  std::optional<double> exit_when_idle{};  ///< seconds
};

void add_to(CLI::App& app, WorkerOptions& options);

/// Consumes orders from `queue` until a stop, or until idle; each order fails at the given rate, on purpose.
void work_on_orders(const BrokerOptions& broker, const WorkerOptions& options, const std::string& queue,
                    const warren::RetryPolicy& policy, warren::StopOnSignal& stop);

}  // namespace examples
