// How late mixed delays are. WARREN_RETRY_MESSAGES says how many.

#include <algorithm>
#include <chrono>
#include <mutex>
#include <random>
#include <vector>

#include "faults/retry_orders.hpp"

using namespace warren;
using namespace std::chrono_literals;
using namespace faults;
using support::eventually;
using Clock = std::chrono::steady_clock;

namespace {

struct Later {
  std::chrono::milliseconds delay{};
};

}  // namespace

TEST_CASE("behaviour 45: of mixed delays none is cut short, and 99 in 100 are less than half a second late",
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
  std::vector<std::chrono::duration<double, std::milli>> lateness;
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
  for (std::size_t i = 0; i < count; ++i) {
    publisher.publish(Message(std::to_string(i)));
    std::this_thread::sleep_for(4ms);  // some 200 a second, as an application's
  }
  CHECK(eventually(
      [&] {
        const std::lock_guard lock(mutex);
        return lateness.size() >= count;
      },
      60s));
  consumer.stop();

  REQUIRE(lateness.size() >= count);
  std::ranges::sort(lateness);
  const auto at = [&](std::size_t percent) {
    return lateness[(lateness.size() - 1) * percent / 100].count();
  };
  std::cout << count << " messages, delays of 100 ms to 5 s, " << (quorum ? "quorum" : "classic")
            << " queue: early " << early << ", late by " << at(0) << " ms (least), " << at(50)
            << " ms (median), " << at(99) << " ms (99th percentile), " << at(100) << " ms (most)"
            << std::endl;
  CHECK(early == 0);
  CHECK(at(99) < 500);
  Channel channel = connection.open_channel();
  for (const RetryQueue& each : policy.topology(queue).queues)
    channel.declare_queue_passive(each.name).remove();
  channel.declare_queue_passive(queue).remove();
}
