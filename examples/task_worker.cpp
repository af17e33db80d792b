// The ten-line consumer: prints what comes to `task_queue`.

#include <csignal>

#include "common/order.hpp"
#include "common/program.hpp"

using namespace examples;

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Prints the messages of the queue `task_queue`", "task_worker"};
  BrokerOptions broker;
  add_to(app, broker);
  return run_program(app, argc, argv, [&] {
    warren::Connection connection = connect(broker, "task worker", stop.token());
    warren::Channel channel = connection.open_channel();
    declare_tasks(channel);
    warren::Consumer consumer{connection, task_queue};
    consumer.run(
        [](const warren::Delivery& delivery) {
          print_line("Received message: " + std::string(delivery.body()));
        },
        stop.token());
    return 0;
  });
}
