// Tries again what failed: orders of `orders_retry`, which come back to it, each time later, until they
// succeed or are parked.

#include <csignal>
#include <cstdint>

#include "common/order.hpp"
#include "common/order_worker.hpp"

using namespace examples;

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Tries the orders of the queue `orders_retry` again", "orders_retry_consumer"};
  BrokerOptions broker;
  WorkerOptions options;
  std::uint32_t max_attempts = 5;
  double initial_delay = 0.2;
  double max_delay = 2;
  add_to(app, broker);
  add_to(app, options);
  app.add_option("--max-attempts", max_attempts,
                 "Attempts on this queue; then the order goes to `orders_parked`")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--initial-delay", initial_delay,
                 "Seconds until the second attempt; doubled for each further one")
      ->check(between(0.001, 4'000'000))
      ->capture_default_str();
  app.add_option("--max-delay", max_delay, "Seconds that an attempt is delayed at most")
      ->check(between(0.001, 4'000'000))
      ->capture_default_str();
  return run_program(app, argc, argv, [&] {
    const auto policy = warren::RetryPolicy::exponential(
        {.initial = to_milliseconds(initial_delay),
         .max = to_milliseconds(max_delay),
         .retry = {.max_attempts = max_attempts, .parked_queue = parked_queue}});
    work_on_orders(broker, options, retry_queue, policy, stop);
    return 0;
  });
}
