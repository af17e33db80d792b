// A broker that is killed while messages leave their wait queues. WARREN_RETRY_ORDERS and
// WARREN_RETRY_BROKER_KILLS say how many of each.

#include <atomic>
#include <mutex>
#include <random>
#include <stdexcept>

#include "faults/retry_orders.hpp"

using namespace warren;
using namespace std::chrono_literals;
using namespace faults;
using support::eventually;

TEST_CASE("a broker killed at random through expiry loses nothing that waits", "[faults]") {
  const bool quorum = GENERATE(false, true);
  const std::size_t kills = number_from_environment("WARREN_RETRY_BROKER_KILLS", 2);
  const std::size_t orders = number_from_environment("WARREN_RETRY_ORDERS", 300);
  std::mt19937_64 random{std::random_device{}()};
  support::PrivateBroker broker;
  const std::string queue = "orders";
  const RetryPolicy policy = RetryPolicy::fixed(1s, {.max_attempts = 1'000'000});
  {
    Connection connection(broker.endpoint(), support::test_options());
    connection.open_channel().declare_queue(queue, queue_of(quorum));
    policy.declare(connection, queue);
  }
  // A quorum queue that was declared seconds before a kill may be without a leader for good (RabbitMQ 3.10).
  // A clean restart keeps it.
  broker.restart();
  ConnectionOptions options = support::test_options();
  options.recovery.enabled = true;
  Connection connection(broker.endpoint(), options);
  Consumer consumer(connection, queue, {.prefetch = 128, .concurrency = 16, .retry = policy});
  publish_orders(connection, queue, 0, orders);

  // All orders fail, wait and come back again and again until the last kill.
  std::atomic<bool> failing{true};
  std::mutex mutex;
  Handled handled;
  consumer.start([&](const Delivery& delivery) {
    if (failing || delivery.retry().attempt < 3) throw std::runtime_error("on purpose");
    const std::lock_guard lock(mutex);
    handled.add(std::string(delivery.body()));
  });
  for (std::size_t i = 0; i < kills; ++i) {
    const std::uint64_t before = consumer.status().retried;
    CHECK(eventually([&] { return consumer.status().retried >= before + std::min<std::size_t>(orders, 200); },
                     240s));
    std::this_thread::sleep_for(200ms + std::chrono::milliseconds(random() % 1'300));
    broker.kill();
    broker.restart();
    CHECK(eventually([&] { return connection.is_open() && consumer.status().subscribed; }, 60s));
  }
  failing = false;
  const auto seen = [&] {
    const std::lock_guard lock(mutex);
    return handled.size();
  };
  // RabbitMQ 3.10 tries again after three minutes where it found a queue not yet there after a start.
  CHECK(eventually([&] { return seen() == orders; }, 300s));
  for (const RetryQueue& each : policy.topology(queue).queues) {
    CHECK(eventually([&] { return ready(connection, each.name) == 0; }, 60s));
  }
  CHECK(eventually([&] { return ready(connection, queue) == 0 && consumer.status().running == 0; }, 60s));
  consumer.stop();
  report("broker", quorum, orders, kills, handled);
  CHECK(handled.size() == orders);
  CHECK(consumer.status().parked == 0);
}
