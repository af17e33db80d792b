#include <warren/warren.hpp>

#include <utility>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// A moved-from object's members throw the misuse error, and say which object it was. Those that can't throw
// return what is true of nothing.

using namespace support;
using warren::Confirmation;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;
using warren::InvalidArgument;
using warren::Message;
using warren::ParkingLot;
using warren::Publisher;

namespace {

template <typename Call>
void refuses(const char* object, Call&& call) {
  const auto error = thrown<InvalidArgument>(std::forward<Call>(call));
  CAPTURE(error.what());
  CHECK(contains(error.text(), std::string("the ") + object + " was moved from"));
  CHECK_FALSE(error.operation().empty());
  CHECK(error.permanent());
  CHECK_FALSE(error.in_doubt());
}

const std::string& name_of_queue(TestQueue& queue) { return queue.name(); }

}  // namespace

TEST_CASE("a moved-from connection refuses all calls, and whatever is made on it") {
  Connection connection{shared_broker().endpoint(), test_options()};
  const Connection taken = std::move(connection);
  refuses("Connection", [&] { (void)connection.open_channel(); });
  refuses("Connection", [&] { (void)connection.state(); });
  refuses("Connection", [&] { (void)connection.is_open(); });
  refuses("Connection", [&] { (void)connection.blocked(); });
  refuses("Connection", [&] { Publisher{connection}; });
  refuses("Connection", [&] { Consumer(connection, "q"); });
  refuses("Connection", [&] { ParkingLot(connection, "q"); });
  refuses("Connection", [&] { warren::RetryPolicy::immediate().declare(connection, "q"); });
  connection.close();
  CHECK(taken.is_open());
}

TEST_CASE("a moved-from channel refuses all calls") {
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  const warren::Channel taken = std::move(channel);
  refuses("Channel", [&] { channel.declare_exchange("x"); });
  refuses("Channel", [&] { channel.declare_exchange_passive("x"); });
  refuses("Channel", [&] { channel.declare_queue("x"); });
  refuses("Channel", [&] { channel.declare_queue_passive("x"); });
  refuses("Channel", [&] { (void)channel.get("x"); });
  refuses("Channel", [&] { (void)channel.get_no_ack("x"); });
  refuses("Channel", [&] { channel.set_prefetch(1); });
  refuses("Channel", [&] { channel.publish("", "x", Message("x")); });
  channel.close();  // does nothing, and never throws
  CHECK_FALSE(channel.is_open());
  CHECK(channel.number() == 0);
  CHECK(taken.is_open());
}

TEST_CASE("a moved-from queue and a moved-from exchange refuse all calls, and to be bound") {
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  warren::Queue queue = channel.declare_queue("", {.exclusive = true});
  warren::Exchange exchange = channel.declare_exchange_passive("amq.direct");
  warren::Queue taken = std::move(queue);
  const warren::Exchange taken_exchange = std::move(exchange);
  refuses("Queue", [&] { (void)queue.name(); });
  refuses("Queue", [&] { queue.bind("amq.direct", "x"); });
  refuses("Queue", [&] { queue.bind(taken_exchange, "x"); });
  refuses("Queue", [&] { queue.unbind("amq.direct", "x"); });
  refuses("Queue", [&] { queue.unbind(taken_exchange, "x"); });
  refuses("Queue", [&] { queue.purge(); });
  refuses("Queue", [&] { queue.remove(); });
  refuses("Exchange", [&] { exchange.bind("amq.direct", "x"); });
  refuses("Exchange", [&] { exchange.bind(taken_exchange, "x"); });
  refuses("Exchange", [&] { exchange.unbind("amq.direct", "x"); });
  refuses("Exchange", [&] { exchange.unbind(taken_exchange, "x"); });
  refuses("Exchange", [&] { exchange.remove(); });
  CHECK(exchange.name().empty());

  warren::Exchange other = channel.declare_exchange_passive("amq.topic");
  refuses("Exchange", [&] { other.bind(exchange, "x"); });
  refuses("Exchange", [&] { other.unbind(exchange, "x"); });
  refuses("Exchange", [&] { taken.bind(exchange, "x"); });
  refuses("Exchange", [&] { taken.unbind(exchange, "x"); });
  taken.bind(taken_exchange, "x");  // nothing was sent that would have closed the channel
}

TEST_CASE("a moved-from publisher and a moved-from or default-made confirmation refuse all calls") {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = name_of_queue(queue)}};
  Publisher taken = std::move(publisher);
  refuses("Publisher", [&] { publisher.publish(Message("x")); });
  refuses("Publisher", [&] { (void)publisher.publish_async(Message("x")); });
  refuses("Publisher", [&] { publisher.flush(1s); });
  refuses("Publisher", [&] { publisher.flush(); });
  refuses("Publisher", [&] { (void)publisher.in_flight(); });
  publisher.close();

  Confirmation confirmation = taken.publish_async(Message("x"));
  Confirmation taken_confirmation = std::move(confirmation);
  Confirmation of_nothing;
  for (Confirmation* each : {&confirmation, &of_nothing}) {
    refuses("Confirmation", [&] { (void)each->outcome(); });
    refuses("Confirmation", [&] { each->wait(); });
    refuses("Confirmation", [&] { (void)each->wait_for(0ms); });
    refuses("Confirmation",
            [&] { each->on_settled([](warren::PublishOutcome, const warren::ErrorDetails*) {}); });
    CHECK_FALSE(each->valid());
  }
  CHECK(taken_confirmation.valid());
  taken_confirmation.wait();
  publisher = std::move(taken);
  publisher.publish(Message("x"));  // what was assigned to works again
}

TEST_CASE("a moved-from consumer refuses all calls") {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Consumer consumer{connection, queue.name()};
  const Consumer taken = std::move(consumer);
  const auto handler = [](const Delivery&) {};
  refuses("Consumer", [&] { consumer.run(handler); });
  refuses("Consumer", [&] { consumer.start(handler); });
  refuses("Consumer", [&] { consumer.wait(); });
  refuses("Consumer", [&] { (void)consumer.wait_for(0ms); });
  refuses("Consumer", [&] { consumer.stop(); });
  refuses("Consumer", [&] { (void)consumer.status(); });
  CHECK(consumer.queue().empty());
  CHECK(taken.queue() == queue.name());
}

TEST_CASE("a moved-from parking lot refuses all calls") {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  ParkingLot lot{connection, queue.name()};
  const ParkingLot taken = std::move(lot);
  refuses("ParkingLot", [&] { lot.inspect([](const warren::ParkedMessage&) {}); });
  refuses("ParkingLot", [&] { (void)lot.replay(); });
  refuses("ParkingLot", [&] { (void)lot.replay({.dry_run = true}); });
  refuses("ParkingLot", [&] { (void)lot.discard({}); });
  CHECK(lot.queue().empty());
  CHECK(taken.queue() == queue.name());
}

TEST_CASE("a moved-from or default-made delivery is not settled") {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  queue.fill(1);
  Delivery delivery = channel.get(queue.name()).value();
  const Delivery taken = std::move(delivery);
  const Delivery of_nothing;
  for (const Delivery* each : {&std::as_const(delivery), &of_nothing}) {
    refuses("Delivery", [&] { each->ack(); });
    refuses("Delivery", [&] { each->ack_up_to(); });
    refuses("Delivery", [&] { each->nack(warren::Requeue::yes); });
    refuses("Delivery", [&] { each->reject(warren::Requeue::no); });
    CHECK(each->body().empty());
    CHECK(each->retry().attempt == 1);
  }
  taken.ack();
}

TEST_CASE("a moved-from retry policy makes no consumer") {
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  auto delayed = warren::RetryPolicy::delays({100ms});
  auto to_queue = warren::RetryPolicy::to_queue(std::string(300, 'q').substr(0, 100));
  const auto taken = std::move(delayed);
  const auto taken_too = std::move(to_queue);
  refuses("RetryPolicy", [&] { Consumer(connection, queue.name(), {.retry = delayed}); });
  refuses("RetryPolicy", [&] { Consumer(connection, queue.name(), {.retry = to_queue}); });
}
