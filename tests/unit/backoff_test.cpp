#include "engine/backoff.hpp"

#include <set>

#include "support/catch.hpp"

using warren::RecoveryOptions;
using warren::engine::Backoff;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

// A clock that goes on only as it is told: past each pause, and past each try.
struct Outage {
  explicit Outage(const RecoveryOptions& options, std::uint64_t seed = 1) : backoff(options, seed) {
    backoff.connected(now);
    now += 1h;
    backoff.lost(now);
  }

  std::optional<milliseconds> next(milliseconds try_takes = 0ms) {
    const auto pause = backoff.next(now);
    if (pause) now += *pause + try_takes;
    return pause;
  }
  // It connects, works for a while, and is lost again.
  void work(milliseconds time) {
    backoff.connected(now);
    now += time;
    backoff.lost(now);
  }

  Backoff::Clock::time_point now{24h};
  Backoff backoff;
};

void check_within(const std::optional<milliseconds>& pause, milliseconds whole) {
  REQUIRE(pause.has_value());
  CHECK(*pause >= whole / 2);
  CHECK(*pause <= whole);
}

}  // namespace

TEST_CASE("pauses double up to the cap, each within half and whole") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Outage outage({}, seed);
    for (const auto whole : {100ms, 200ms, 400ms, 800ms, 800ms, 800ms}) check_within(outage.next(), whole);
  }
}

TEST_CASE("pauses are spread over the whole range") {
  std::set<milliseconds> first;
  std::set<milliseconds> capped;
  for (std::uint64_t seed = 0; seed < 1'000; ++seed) {
    Outage outage({}, seed);
    first.insert(*outage.next());
    for (int i = 0; i < 4; ++i) (void)outage.next();
    capped.insert(*outage.next());
  }
  CHECK(*first.begin() <= 52ms);
  CHECK(*first.rbegin() >= 98ms);
  CHECK(first.size() > 40);
  CHECK(*capped.begin() < 420ms);
  CHECK(*capped.rbegin() > 780ms);
}

TEST_CASE("below 1 s for the first minute of an outage, then growing to 30 s") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Outage outage({}, seed);
    const auto lost_at = outage.now;
    while (outage.now - lost_at < 60s) {
      const auto pause = outage.next();
      REQUIRE(pause.has_value());
      CHECK(*pause <= 800ms);  // the longest that a broker which has just come back is not asked
    }
    for (const auto whole : {1'600ms, 3'200ms, 6'400ms, 12'800ms, 25'600ms, 30'000ms, 30'000ms}) {
      check_within(outage.next(), whole);
    }
  }
}

TEST_CASE("only a connection that was stable resets the pauses") {
  Outage outage({});
  for (int i = 0; i < 3; ++i) (void)outage.next();
  outage.work(9'999ms);
  check_within(outage.next(), 800ms);  // where it left off
  outage.work(10s);
  check_within(outage.next(), 100ms);
  check_within(outage.next(), 200ms);
}

TEST_CASE("a link that flaps for minutes is asked at the pace of a young outage each time") {
  Outage outage({});
  for (int i = 0; i < 100; ++i) {
    const auto pause = outage.next();
    REQUIRE(pause.has_value());
    CHECK(*pause <= 800ms);
    outage.work(5s);
  }
}

TEST_CASE("max_tries ends it, over losses that follow closely, and anew after a stable connection") {
  Outage outage({.max_tries = 3});
  CHECK(outage.next().has_value());
  CHECK(outage.next().has_value());
  outage.work(1s);  // not stable: the same outage
  CHECK(outage.next().has_value());
  CHECK_FALSE(outage.next().has_value());
  CHECK_FALSE(outage.next().has_value());
  outage.work(1min);
  for (int i = 0; i < 3; ++i) CHECK(outage.next().has_value());
  CHECK_FALSE(outage.next().has_value());
}

TEST_CASE("give_up_after bounds the outage, its last pause included") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Outage outage({.give_up_after = 70s}, seed);
    const auto lost_at = outage.now;
    while (outage.next().has_value()) {
    }
    CHECK(outage.now - lost_at == 70s);
    CHECK_FALSE(outage.next().has_value());
  }
}

TEST_CASE("the first connection may be lost at once, and the options are as they are told") {
  Backoff backoff({.initial_delay = 10ms, .early_max_delay = 25ms, .max_delay = 20ms}, 7);
  const Backoff::Clock::time_point start{24h};
  backoff.connected(start);
  backoff.lost(start + 1ms);
  check_within(backoff.next(start + 1ms), 10ms);
  check_within(backoff.next(start + 1ms), 20ms);
  check_within(backoff.next(start + 1ms), 20ms);  // max_delay holds early, too
}

TEST_CASE("durations that no clock can tell are without end") {
  Outage outage({.initial_delay = 1h,
                 .max_delay = milliseconds::max(),
                 .stable_after = milliseconds::max(),
                 .give_up_after = milliseconds::max()});
  check_within(outage.next(), 800ms);
  outage.now += 1min;
  milliseconds before{0};
  for (int i = 0; i < 100; ++i) {
    const auto pause = outage.backoff.next(outage.now);
    REQUIRE(pause.has_value());
    CHECK(*pause > 0ms);
    if (i < 4) CHECK(*pause >= before);
    before = *pause;
    outage.work(1ms);
    outage.now += 1min;
  }
  CHECK(before > 24h * 365 * 40);
}
