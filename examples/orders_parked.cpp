// Lists what rests in `orders_parked`, with its reason. Nothing is consumed: the messages go back as they
// came.

#include <optional>
#include <string>

#include "common/order.hpp"
#include "common/program.hpp"

using namespace examples;

namespace {

std::string text_of(const warren::FieldValue* value) {
  if (value == nullptr) return "unknown";
  if (const auto text = value->as_string()) return std::string(*text);
  if (const auto number = value->as_integer()) return std::to_string(*number);
  return "unknown";
}

std::string order_of(const warren::Delivery& delivery) {
  try {
    return parse_order(delivery.body()).id;
  } catch (const warren::Undecodable&) {
    return "(undecodable)";
  }
}

void list(warren::Channel& channel, const std::stop_token& stop) {
  // As many as there are now. What was taken goes back with the end of the channel.
  for (auto left = channel.declare_queue_passive(parked_queue).message_count(); left != 0; --left) {
    const std::optional<warren::Delivery> delivery = channel.get(parked_queue);
    if (!delivery || stop.stop_requested()) return;
    const warren::FieldTable& headers = delivery->headers();
    print_line("Parked order " + order_of(*delivery) + ": " + text_of(headers.find("retry-reason")) +
               " after " + text_of(headers.find("retry-attempt")) +
               " attempts: " + text_of(headers.find("retry-error-message")));
  }
}

}  // namespace

int main(int argc, char** argv) {
  StopOnSignal stop;
  CLI::App app{"Shows what could not be processed", "orders_parked"};
  BrokerOptions broker;
  add_to(app, broker);
  app.add_subcommand("list", "Lists the parked orders");
  app.require_subcommand(1);
  app.fallthrough();
  return run_program(app, argc, argv, [&] {
    warren::Connection connection = connect(broker, "orders parked", stop.token());
    warren::Channel channel = connection.open_channel();
    declare_orders(channel);
    list(channel, stop.token());
    channel.close();
    return 0;
  });
}
