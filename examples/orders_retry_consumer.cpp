// Tries again what failed: orders of `orders_retry`, which come back to it until they succeed or are parked.

#include <cstdint>

#include "common/order.hpp"
#include "common/order_worker.hpp"

using namespace examples;

int main(int argc, char** argv) {
  StopOnSignal stop;
  CLI::App app{"Tries the orders of the queue `orders_retry` again", "orders_retry_consumer"};
  BrokerOptions broker;
  WorkerOptions options;
  std::uint32_t max_attempts = 5;
  add_to(app, broker);
  add_to(app, options);
  app.add_option("--max-attempts", max_attempts,
                 "Attempts on this queue; then the order goes to `orders_parked`")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  return run_program(app, argc, argv, [&] {
    const auto policy = warren::RetryPolicy::to_queue(
        retry_queue, {.max_attempts = max_attempts, .parked_queue = parked_queue});
    work_on_orders(broker, options, retry_queue, policy, stop);
    return 0;
  });
}
