#include <warren/warren.hpp>

#include <cstdlib>
#include <latch>
#include <mutex>
#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"

using namespace support;
using warren::Confirmation;
using warren::Connection;
using warren::Message;
using warren::Publisher;

namespace {

// WARREN_TEST_MESSAGES, for a quick look; 100,000 where it is not set.
std::size_t message_count() {
  const char* text = std::getenv("WARREN_TEST_MESSAGES");
  return text == nullptr ? 100'000 : std::strtoul(text, nullptr, 10);
}

// What all threads together saw, and the first thing that went wrong.
struct Tally {
  std::atomic<std::size_t> confirmed{0};
  std::atomic<std::size_t> failed{0};
  std::mutex mutex;
  std::string first_failure;

  template <typename Call>
  void count(Call&& call) {
    try {
      call();
      ++confirmed;
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex);
      if (failed++ == 0) first_failure = error.what();
    }
  }
};

}  // namespace

TEST_CASE(
    "sixteen threads share one Publisher: 100,000 messages, each confirmed once and in the queue once") {
  constexpr std::size_t threads = 16;
  const std::size_t count = message_count();
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = queue.name(), .timeout = 120s}};

  Tally tally;
  {
    std::latch begin(threads);
    std::vector<std::jthread> crowd;
    for (std::size_t thread = 0; thread < threads; ++thread) {
      crowd.emplace_back([&, thread] {
        begin.arrive_and_wait();
        std::vector<Confirmation> confirmations;
        const auto collect = [&] {
          for (Confirmation& each : confirmations) tally.count([&] { each.wait(); });
          confirmations.clear();
        };
        for (std::size_t number = thread; number < count; number += threads) {
          const Message message(std::to_string(number));
          if (number / threads % 50 == 0) {  // one in fifty waits by itself
            tally.count([&] { publisher.publish(message); });
          } else {
            confirmations.push_back(publisher.publish_async(message));
          }
          if (confirmations.size() == 500) collect();
        }
        collect();
      });
    }
  }
  INFO(tally.first_failure);
  CHECK(tally.failed == 0);
  CHECK(tally.confirmed == count);
  CHECK(publisher.in_flight() == 0);
  REQUIRE(queue.ready() == count);

  // Each body once. The counters are atomic since a sanitizer is to see four workers at them.
  std::vector<std::atomic<std::uint8_t>> seen(count);
  std::atomic<std::size_t> strange{0};
  warren::Consumer consumer{connection, queue.name(), {.prefetch = 1'000, .concurrency = 4}};
  consumer.start([&](const warren::Delivery& delivery) {
    const std::size_t number = std::strtoul(std::string(delivery.body()).c_str(), nullptr, 10);
    if (number >= count || seen[number]++ != 0 || delivery.redelivered()) ++strange;
  });
  CHECK(eventually([&] { return consumer.status().acked == count; }, 180s));
  consumer.stop();
  CHECK(strange == 0);
  CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& times) { return times == 1; }));
  CHECK(queue.ready() == 0);
}

TEST_CASE(
    "sixteen threads share one Publisher whose channel the broker closes again and again: what it closes for "
    "is refused, all else is confirmed") {
  constexpr std::size_t threads = 16;
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), test_options()};
  Publisher publisher{connection, {.routing_key = queue.name(), .timeout = 120s}};
  std::mutex mutex;
  std::set<std::string> confirmed;
  std::string first_failure;
  std::atomic<int> refused{0};
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> crowd;
    for (std::size_t thread = 0; thread < threads; ++thread) {
      crowd.emplace_back([&, thread] {
        for (int i = 0; i < 100; ++i) {
          const bool missing = thread == 0 && i % 10 == 0;
          const std::string body = std::to_string(thread) + "/" + std::to_string(i);
          try {
            publisher.publish(Message(body), {.exchange = missing ? std::string_view("there-is-none") : ""});
            if (missing) ++wrong;
            const std::lock_guard lock(mutex);
            confirmed.insert(body);
          } catch (const warren::Error& error) {
            const bool of_its_own = missing && error.code() == 404 && error.permanent() && !error.in_doubt();
            ++(of_its_own ? refused : wrong);
            const std::lock_guard lock(mutex);
            if (!of_its_own && first_failure.empty()) first_failure = error.what();
          }
        }
      });
    }
  }
  INFO(first_failure);
  CHECK(wrong == 0);
  CHECK(refused == 10);
  CHECK(confirmed.size() == threads * 100 - 10);
  CHECK(publisher.in_flight() == 0);
  CHECK_NOTHROW(publisher.publish(Message("last")));
  // Some may be there twice: what was in flight beside a message that is refused is sent again.
  confirmed.insert("last");
  const std::multiset<std::string> bodies = queue.take_all();
  CHECK(std::set<std::string>(bodies.begin(), bodies.end()) == confirmed);
}
