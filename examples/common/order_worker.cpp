#include "common/order_worker.hpp"

#include <condition_variable>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/order.hpp"

namespace examples {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// The same seed makes the same orders fail, as long as one worker handles them.
class Dice {
 public:
  Dice(double rate, std::optional<std::uint64_t> seed)
      : rate_(rate), random_(seed ? *seed : std::random_device()()) {}
  bool fails() {
    const std::lock_guard lock(mutex_);
    return std::uniform_real_distribution<double>(0, 1)(random_) < rate_;
  }

 private:
  std::mutex mutex_;
  const double rate_;
  std::mt19937_64 random_;
};

// Asks for a stop once nothing was to be done for so long: subscribed, no handler running, nothing received
// and not begun, nothing ready in `queues`, which are those that feed the consumer.
void stop_when_idle(const std::stop_token& ended, const warren::Consumer& consumer,
                    const std::vector<std::string>& queues, warren::Connection& connection, double seconds,
                    warren::StopOnSignal& stop) {
  const auto idle_time = to_milliseconds(seconds);
  std::mutex mutex;
  std::condition_variable_any woken;
  std::optional<warren::Channel> channel;
  auto idle_since = Clock::now();
  std::uint64_t settled_before = 0;
  while (!ended.stop_requested()) {
    bool idle = connection.is_open();
    try {  // ahead of the status: what leaves a queue after it was looked at is seen there
      if (idle && (!channel || !channel->is_open())) channel.emplace(connection.open_channel());
      for (const std::string& queue : queues) {
        idle = idle && channel->declare_queue_passive(queue).message_count() == 0;
      }
    } catch (const warren::Error&) {
      idle = false;  // the broker is away: nobody knows what waits there
      channel.reset();
    }
    const warren::ConsumerStatus status = consumer.status();
    idle = idle && status.subscribed && status.running == 0 && status.waiting == 0;
    const std::uint64_t settled = status.acked + status.retried + status.parked;
    if (!idle || settled != settled_before) idle_since = Clock::now();
    settled_before = settled;
    if (idle && Clock::now() - idle_since >= idle_time) return stop.request_stop();
    std::unique_lock lock(mutex);
    woken.wait_for(lock, ended, 50ms, [] { return false; });
  }
}

}  // namespace

void add_to(CLI::App& app, WorkerOptions& options) {
  app.add_option("--failure-rate", options.failure_rate, "How many of the attempts fail on purpose, 0 to 1")
      ->check(between(0, 1))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Makes the failures the same again")->check(CLI::NonNegativeNumber);
  app.add_option("--prefetch", options.prefetch, "Unacknowledged messages at once")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  app.add_option("--concurrency", options.concurrency, "Handlers at once")
      ->check(CLI::Range(1, 1'024))
      ->capture_default_str();
  app.add_option("--exit-when-idle", options.exit_when_idle,
                 "Ends after so many seconds without anything to do")
      ->check(between(0, 86'400));
}

void work_on_orders(const BrokerOptions& broker, const WorkerOptions& options, const std::string& queue,
                    const warren::RetryPolicy& policy, warren::StopOnSignal& stop) {
  warren::Connection connection = connect(broker, queue + " consumer", stop.token());
  {
    warren::Channel channel = connection.open_channel();
    declare_orders(channel);
  }
  warren::Consumer consumer{
      connection, queue, {.prefetch = options.prefetch, .concurrency = options.concurrency, .retry = policy}};
  std::jthread watcher;
  if (options.exit_when_idle) {
    std::vector<std::string> queues;  // those to wait in first: what leaves them is seen in the other one
    for (const auto delay : policy.distinct_delays())
      queues.push_back(warren::RetryPolicy::wait_queue(queue, delay));
    queues.push_back(queue);
    watcher = std::jthread([&, queues](const std::stop_token& ended) {
      stop_when_idle(ended, consumer, queues, connection, *options.exit_when_idle, stop);
    });
  }

  Dice dice{options.failure_rate, options.seed};
  consumer.run(
      [&](const warren::Delivery& delivery) {
        const Order order = parse_order(delivery.body());
        print_line("Processing order " + order.id + " at " + order.timestamp);
        if (dice.fails()) {
          print_error("Order " + order.id + " failed, on purpose");
          throw std::runtime_error("failed on purpose");
        }
        print_line("Processed order " + order.id);
      },
      stop.token());
}

}  // namespace examples
