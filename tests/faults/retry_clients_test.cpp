// Consumers that are killed amid delayed retries. WARREN_RETRY_ORDERS and WARREN_RETRY_CLIENT_KILLS say how
// many of each.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "faults/retry_orders.hpp"

using namespace warren;
using namespace std::chrono_literals;
using namespace faults;
using support::eventually;

namespace {

/// A process of a consumer's, for this test to kill.
class Worker {
 public:
  Worker(const std::string& url, const std::string& queue, const std::string& file) : id_(::fork()) {
    if (id_ == 0) {
      ::execl(WARREN_RETRY_WORKER, WARREN_RETRY_WORKER, url.c_str(), queue.c_str(), file.c_str(), nullptr);
      ::_exit(127);
    }
    REQUIRE(id_ > 0);
  }
  ~Worker() { kill(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// SIGKILL. False where it had ended by itself.
  bool kill() {
    if (id_ <= 0) return false;
    ::kill(id_, SIGKILL);
    int status = 0;
    ::waitpid(id_, &status, 0);
    id_ = -1;
    return WIFSIGNALED(status);
  }

 private:
  pid_t id_;
};

Handled handled_in(const std::string& file) {
  Handled handled;
  std::ifstream in(file);
  for (std::string order; std::getline(in, order);) handled.add(order);
  return handled;
}

}  // namespace

TEST_CASE("consumers killed at random amid delayed retries lose nothing", "[faults]") {
  const bool quorum = GENERATE(false, true);
  const std::size_t kills = number_from_environment("WARREN_RETRY_CLIENT_KILLS", 6);
  const std::size_t orders = number_from_environment("WARREN_RETRY_ORDERS", 300);
  const std::size_t batch = orders / kills;
  std::mt19937_64 random{std::random_device{}()};
  Connection connection(support::shared_broker().endpoint(), support::test_options());
  const std::string queue = support::unique_name("killed");
  connection.open_channel().declare_queue(queue, queue_of(quorum));
  const std::string file = std::filesystem::temp_directory_path() / queue;

  const auto consumers = [&] {
    return connection.open_channel().declare_queue_passive(queue).consumer_count();
  };
  std::size_t sent = 0;
  for (std::size_t i = 0; i < kills; ++i) {
    const std::size_t count = i + 1 == kills ? orders - sent : batch;
    publish_orders(connection, queue, sent, count);
    sent += count;
    REQUIRE(eventually([&] { return consumers() == 0; }));
    Worker worker(support::shared_broker().url(), queue, file);
    REQUIRE(eventually([&] { return consumers() == 1; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 400));
    REQUIRE(worker.kill());
  }

  const RetryTopology topology = RetryPolicy::delays({100ms, 300ms}).topology(queue);
  {
    Worker last(support::shared_broker().url(), queue, file);
    CHECK(eventually([&] { return handled_in(file).size() == orders; }, 120s));
    CHECK(eventually([&] { return ready(connection, queue) == 0; }));  // duplicates are to be counted, too
    for (const RetryQueue& each : topology.queues) {
      CHECK(eventually([&] { return ready(connection, each.name) == 0; }));
    }
    std::this_thread::sleep_for(500ms);  // those that a handler still has
  }
  const Handled handled = handled_in(file);
  report("consumer", quorum, orders, kills, handled);
  CHECK(handled.size() == orders);
  std::filesystem::remove(file);
  Channel channel = connection.open_channel();
  for (const RetryQueue& each : topology.queues) channel.declare_queue_passive(each.name).remove();
  channel.declare_queue_passive(queue).remove();
}
