// tests/soak.sh's program: an application at work, all in a ledger, while its connections are cut every few
// seconds and its broker is restarted each minute. Once a second it writes what the process holds and how
// long the queues are, as CSV, on stdout; soak_report.py judges and draws that. Ends with 1 if a message was
// lost, or anything else went wrong.
//
//   warren_soak SECONDS [SEED]
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include <warren/warren.hpp>

#include "faults/ledger.hpp"
#include "faults/workload.hpp"
#include "support/broker.hpp"
#include "support/process.hpp"
#include "support/proxy.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = faults::Ledger::Clock;

constexpr std::array queues = {"plain",        "wide",          "orders",
                               "orders_retry", "orders_parked", "orders_retry_parked"};
constexpr auto between_restarts = 60s;
// Between two publishes of a thread's: three quarters of what the slowest consumer handles, so that a queue
// is empty but for the backlog of an outage.
constexpr auto pause = 4ms;
constexpr std::size_t most_a_second = 1'000;  // messages, of all threads

// Bytes of this process that are in memory.
std::size_t resident_bytes() {
  std::size_t all = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Allocated and not freed, large blocks included.
std::size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Looks at everything once a second, on a connection of its own that is never cut.
class Sampler {
 public:
  Sampler(const warren::Endpoint& broker, const faults::Workload& work, const faults::Ledger& ledger)
      : work_(work), ledger_(ledger), connection_(broker, options()), thread_([this] { run(); }) {}
  ~Sampler() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  void count_cut() { ++cuts_; }
  void count_restart() { ++restarts_; }

 private:
  static warren::ConnectionOptions options() {
    warren::ConnectionOptions options;
    options.name = "sampling";
    options.operation_timeout = 500ms;  // while the broker restarts there is nothing to see
    return options;
  }

  void run() {
    std::cout << "seconds,rss,heap,descriptors,threads,well,cuts,restarts,recoveries,published,missing";
    for (const char* queue : queues) std::cout << ",queue " << queue;
    std::cout << std::endl;
    const auto start = Clock::now();
    for (auto next = start + 1s;; next = std::max(next + 1s, Clock::now())) {
      {
        std::unique_lock lock(mutex_);
        if (changed_.wait_until(lock, next, [&] { return stopping_; })) return;
      }
      sample(std::chrono::duration<double>(Clock::now() - start).count());
    }
  }

  void sample(double seconds) {
    const support::Resources held = support::resources();
    std::string line = std::to_string(seconds);
    for (const std::size_t value :
         {resident_bytes(), heap_bytes(), held.descriptors, held.threads,
          std::size_t{work_.is_well() ? 1U : 0U}, cuts_.load(), restarts_.load(),
          static_cast<std::size_t>(work_.recoveries()), ledger_.published(), ledger_.missing()})
      line += ',' + std::to_string(value);
    // While the broker restarts nobody can tell: the field is empty.
    bool answers = true;
    for (const char* queue : queues) {
      line += ',';
      if (!answers) continue;
      try {
        if (!channel_ || !channel_->is_open()) channel_.emplace(connection_.open_channel());
        line += std::to_string(channel_->declare_queue_passive(queue).message_count());
      } catch (const warren::Error&) {
        channel_.reset();
        answers = false;
      }
    }
    std::cout << line << std::endl;
  }

  const faults::Workload& work_;
  const faults::Ledger& ledger_;
  warren::Connection connection_;
  std::optional<warren::Channel> channel_;
  std::atomic<std::size_t> cuts_{0};
  std::atomic<std::size_t> restarts_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

void cut(support::Proxy& proxy, std::mt19937_64& random) {
  const auto end = random() % 2 == 0 ? support::Proxy::End::reset : support::Proxy::End::fin;
  const auto direction = random() % 2 == 0 ? support::Direction::to_broker : support::Direction::to_client;
  switch (random() % 3) {
    case 0:
      return proxy.cut(end);
    case 1:
      return proxy.cut_after(direction, 1 + random() % 500, end);  // in the middle of a frame
    default:
      return proxy.garble(direction);
  }
}

// Returns why it failed; empty: it did not.
std::string soak(std::chrono::seconds time, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  support::PrivateBroker broker;
  support::Proxy proxy(broker.endpoint());
  proxy.record_frames(false);
  faults::Ledger ledger;
  // All that it will ever hold, so that its growth is none of the library's.
  ledger.reserve(static_cast<std::size_t>(time.count()) * most_a_second);
  faults::Workload work(ledger, {proxy.endpoint()}, warren::QueueType::classic, seed, pause);
  {
    Sampler sampler(broker.endpoint(), work, ledger);
    const auto end = Clock::now() + time;
    auto restart_at = Clock::now() + between_restarts / 4;  // the first one within the warm-up
    while (Clock::now() < end) {
      std::this_thread::sleep_for(2s + std::chrono::milliseconds(random() % 3'000));
      if (Clock::now() >= restart_at) {
        sampler.count_restart();
        broker.restart();
        // On a busy machine a restart takes long: there must be something to look at in between.
        restart_at = std::max(restart_at + between_restarts, Clock::now() + between_restarts / 2);
      } else {
        sampler.count_cut();
        cut(proxy, random);
      }
    }
    if (!support::eventually([&] { return work.is_well(); }, 60s))
      return "not all is well again: " + work.describe();
    work.stop_publishing();
    // A message whose copy is on its way is nowhere for a moment; what is confirmed arrives.
    if (!support::eventually([&] { return ledger.missing() == 0; }, 60s))
      return std::to_string(ledger.missing()) + " confirmed messages were never handled: " + work.describe();
    work.stop_consuming();
  }
  const faults::Ledger::Totals totals = ledger.totals();
  std::cerr << "published " << totals.published << ", confirmed " << totals.confirmed << ", in doubt "
            << totals.in_doubt << ", not sent " << totals.not_sent << ", nacked " << totals.nacked
            << "; handled " << totals.handled << ", lost " << totals.lost << ", duplicates "
            << totals.duplicates << "; recoveries " << work.recoveries() << "; longest publish "
            << totals.longest_publish.count() << " ms\n";
  if (!work.faults().empty()) return work.faults().front();
  if (totals.lost != 0 || totals.open != 0 || totals.twice != 0 || totals.conjured != 0)
    return "lost " + std::to_string(totals.lost) + ", without an outcome " + std::to_string(totals.open) +
           ", with two " + std::to_string(totals.twice) + ", handled but not sent " +
           std::to_string(totals.conjured);
  return totals.confirmed > 0 ? "" : "nothing was published";
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::cerr << "usage: warren_soak SECONDS [SEED]\n";
    return 2;
  }
  // Large buffers go back to the system at once: else glibc keeps them, touched by and by, and resident
  // memory rises for a long time without a leak.
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  const std::uint64_t seed = count > 2 ? std::stoull(arguments[2]) : std::random_device{}();
  std::cerr << "seed " << seed << '\n';
  try {
    const std::string why = soak(std::chrono::seconds(std::stol(arguments[1])), seed);
    if (why.empty()) return 0;
    std::cerr << "soak: " << why << '\n';
  } catch (const std::exception& error) {
    std::cerr << "soak: " << error.what() << '\n';
  }
  return 1;
}
