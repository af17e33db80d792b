// How late mixed delays are. WARREN_RETRY_MESSAGES says how many.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "faults/retry_orders.hpp"
#include "support/test_queue.hpp"

using namespace warren;
using namespace std::chrono_literals;
using namespace faults;
using support::eventually;
using Clock = std::chrono::steady_clock;

namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

struct Later {
  std::chrono::milliseconds delay{};
};

Milliseconds percentile(const std::vector<Milliseconds>& sorted, std::size_t percent) {
  return sorted[(sorted.size() - 1) * percent / 100];
}

/// Messages that nothing delays, one every 10 ms: what they are late by is the machine's share.
class Undelayed {
 public:
  explicit Undelayed(bool quorum)
      : queue_(queue_of(quorum)),
        connection_(support::shared_broker().endpoint(), support::test_options()),
        publisher_(connection_, {.routing_key = queue_.name()}),
        consumer_(connection_, queue_.name()) {
    consumer_.start([this](const Delivery& delivery) {
      const std::size_t number = std::stoul(std::string(delivery.body()));
      lateness_.emplace_back(Clock::now() - due(number));
      arrived_ = lateness_.size();
    });
  }

  /// How late they are, sorted, from now until `ended`.
  template <typename Condition>
  std::vector<Milliseconds> until(Condition&& ended, std::chrono::milliseconds within) {
    std::size_t sent = 0;
    for (; !ended() && due(sent) < start_ + within; ++sent) {
      std::this_thread::sleep_until(due(sent));
      (void)publisher_.publish_async(Message(std::to_string(sent)));
    }
    CHECK(eventually([&] { return arrived_ >= sent; }, 60s));
    consumer_.stop();
    std::ranges::sort(lateness_);
    return lateness_;
  }

 private:
  [[nodiscard]] Clock::time_point due(std::size_t number) const { return start_ + number * 10ms; }

  const Clock::time_point start_ = Clock::now();
  std::vector<Milliseconds> lateness_;
  std::atomic<std::size_t> arrived_ = 0;
  support::TestQueue queue_;
  Connection connection_;
  Publisher publisher_;
  Consumer consumer_;
};

}  // namespace

TEST_CASE(
    "of mixed delays none is cut short, and what is delayed is less than half a second later "
    "than what is not, in 99 of 100",
    "[faults]") {
  const bool quorum = GENERATE(false, true);
  const std::size_t count = number_from_environment("WARREN_RETRY_MESSAGES", 500);
  std::mt19937_64 random{std::random_device{}()};
  Connection connection(support::shared_broker().endpoint(), support::test_options());
  const std::string queue = support::unique_name("mixed");
  connection.open_channel().declare_queue(queue, queue_of(quorum));
  const RetryPolicy policy = RetryPolicy::delays({100ms, 200ms, 500ms, 1s, 2s, 3s, 4s, 5s});
  const auto& delays = policy.distinct_delays();
  const FailureRules rules =
      FailureRules().otherwise([](const std::exception_ptr& error) -> FailureRules::Decision {
        try {
          std::rethrow_exception(error);
        } catch (const Later& later) {
          return FailureDecision{.delay = later.delay};
        } catch (...) {
          return std::nullopt;
        }
      });
  Consumer consumer(connection, queue, {.concurrency = 4, .retry = policy, .failures = rules});

  std::mutex mutex;
  std::vector<Clock::time_point> wanted(count);
  std::vector<Milliseconds> lateness;
  std::size_t early = 0;
  consumer.start([&](const Delivery& delivery) {
    const auto now = Clock::now();
    const std::size_t number = std::stoul(std::string(delivery.body()));
    const std::lock_guard lock(mutex);
    if (delivery.retry().attempt == 1) {
      const auto delay = delays[random() % delays.size()];
      wanted[number] = Clock::now() + delay;
      throw Later{delay};
    }
    if (now < wanted[number]) ++early;
    lateness.emplace_back(now - wanted[number]);
  });
  Publisher publisher(connection, {.routing_key = queue});
  Undelayed undelayed(quorum);
  auto publishing = std::async(std::launch::async, [&] {
    for (std::size_t i = 0; i < count; ++i) {
      publisher.publish(Message(std::to_string(i)));
      std::this_thread::sleep_for(4ms);  // some 200 a second, as an application's
    }
  });
  const std::vector<Milliseconds> machine = undelayed.until(
      [&] {
        const std::lock_guard lock(mutex);
        return lateness.size() >= count;
      },
      60s + count * 10ms);
  publishing.get();
  consumer.stop();

  REQUIRE(lateness.size() >= count);
  std::ranges::sort(lateness);
  const auto at = [&](std::size_t percent) { return percentile(lateness, percent).count(); };
  std::cout << count << " messages, delays of 100 ms to 5 s, " << (quorum ? "quorum" : "classic")
            << " queue: early " << early << ", late by " << at(0) << " ms (least), " << at(50)
            << " ms (median), " << at(99) << " ms (99th percentile), " << at(100)
            << " ms (most); undelayed ones by " << percentile(machine, 50).count() << " ms (median), "
            << percentile(machine, 99).count() << " ms (99th percentile)" << std::endl;
  CHECK(early == 0);
  CHECK(at(99) < percentile(machine, 99).count() + 500);
  Channel channel = connection.open_channel();
  for (const RetryQueue& each : policy.topology(queue).queues)
    channel.declare_queue_passive(each.name).remove();
  channel.declare_queue_passive(queue).remove();
}
