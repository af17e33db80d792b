#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <numeric>
#include <random>

#include "faults/report.hpp"
#include "faults/workload.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/proxy.hpp"

using namespace support;
using namespace faults;

namespace {

// Breaks the broker and the network before it, one fault after the other, each kind as often as the others.
class Chaos {
 public:
  Chaos(PrivateBroker& broker, Proxy& proxy, std::uint64_t seed)
      : broker_(broker), proxy_(proxy), random_(seed) {}

  void strike() {
    if (next_ == kinds_.size()) {
      std::shuffle(kinds_.begin(), kinds_.end(), random_);
      next_ = 0;
    }
    const Kind& kind = kinds_[next_++];
    ++counts_[kind.name];
    (this->*kind.strike)();
    // At times the next one comes while the connections still recover.
    wait(random_() % 3 == 0 ? 0ms : upto(1'500ms));
  }

  [[nodiscard]] const std::map<std::string, std::size_t>& counts() const { return counts_; }
  [[nodiscard]] std::size_t count() const {
    return std::accumulate(counts_.begin(), counts_.end(), std::size_t{0},
                           [](std::size_t sum, const auto& each) { return sum + each.second; });
  }

 private:
  struct Kind {
    const char* name;
    void (Chaos::*strike)();
  };

  static void wait(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }
  std::chrono::milliseconds upto(std::chrono::milliseconds most) {
    return std::chrono::milliseconds(random_() % static_cast<std::uint64_t>(most.count()));
  }
  Direction direction() { return random_() % 2 == 0 ? Direction::to_broker : Direction::to_client; }
  // Short of two heartbeats, or beyond.
  void stall_for_a_while() {
    wait(200ms + upto(6'000ms));
    proxy_.resume();
  }

  void kill() {
    broker_.kill();
    broker_.restart();
  }
  void restart() { broker_.restart(); }
  void cut_fin() { proxy_.cut(Proxy::End::fin); }
  void cut_reset() { proxy_.cut(Proxy::End::reset); }
  void cut_in_frame() {
    proxy_.cut_after(direction(), 1 + random_() % 500,
                     random_() % 2 == 0 ? Proxy::End::reset : Proxy::End::fin);
    wait(200ms);
  }
  void stall_one_way() {
    proxy_.stall(direction());
    stall_for_a_while();
  }
  void stall_both() {
    proxy_.stall();
    stall_for_a_while();
  }
  void garble() {
    proxy_.garble(direction());
    wait(200ms);
  }
  void strand() {
    proxy_.strand();
    wait(upto(3'000ms));
    proxy_.resume();
  }
  void slow() {
    proxy_.delay(1ms + upto(200ms));
    proxy_.throttle(2'000 + random_() % 20'000);
    wait(upto(2'000ms));
    proxy_.delay(0ms);
    proxy_.throttle(0);
  }
  void refuse() {
    proxy_.take_new(false);
    proxy_.cut();
    wait(upto(2'000ms));
    proxy_.take_new(true);
  }

  PrivateBroker& broker_;
  Proxy& proxy_;
  std::mt19937_64 random_;
  std::vector<Kind> kinds_{{"kill -9 and restart", &Chaos::kill},
                           {"clean restart", &Chaos::restart},
                           {"cut (FIN)", &Chaos::cut_fin},
                           {"cut (RST)", &Chaos::cut_reset},
                           {"cut in mid-frame", &Chaos::cut_in_frame},
                           {"stall one way", &Chaos::stall_one_way},
                           {"stall both ways", &Chaos::stall_both},
                           {"garbled byte", &Chaos::garble},
                           {"cut for the client only", &Chaos::strand},
                           {"slow and late", &Chaos::slow},
                           {"cut, and refused for a while", &Chaos::refuse}};
  std::size_t next_ = kinds_.size();
  std::map<std::string, std::size_t> counts_;
};

}  // namespace

TEST_CASE("nothing that was confirmed is lost while broker and network are broken at random",
          "[faults][ledger]") {
  const auto time = std::chrono::seconds(number_from_environment("WARREN_LEDGER_SECONDS", 60));
  const std::uint64_t seed = number_from_environment("WARREN_LEDGER_SEED", std::random_device{}());
  std::cout << "WARREN_LEDGER_SEED=" << seed << std::endl;
  PrivateBroker broker;
  Proxy proxy(broker.endpoint());
  proxy.record_frames(false);

  const Resources before = resources();
  {
    Chaos chaos(broker, proxy, seed);
    Ledger ledger;
    Workload work(ledger, {proxy.endpoint()}, warren::QueueType::classic, seed);
    const auto end = Ledger::Clock::now() + time;
    while (Ledger::Clock::now() < end || chaos.count() < 20) chaos.strike();
    finish(work, ledger, chaos.counts());
  }
  check_no_leaks(before);
}
