// Processes orders, and fails half the time, on purpose. What fails goes to `orders_retry`, for another
// program.

#include <csignal>

#include "common/order.hpp"
#include "common/order_worker.hpp"

using namespace examples;

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Processes the orders of the queue `orders`", "orders_consumer"};
  BrokerOptions broker;
  WorkerOptions options;
  add_to(app, broker);
  add_to(app, options);
  return run_program(app, argc, argv, [&] {
    const auto policy = warren::RetryPolicy::to_queue(retry_queue, {.parked_queue = parked_queue});
    work_on_orders(broker, options, orders_queue, policy, stop);
    return 0;
  });
}
