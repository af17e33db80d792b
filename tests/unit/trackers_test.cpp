#include <random>
#include <set>

#include "engine/ack_tracker.hpp"
#include "engine/confirm_tracker.hpp"
#include "engine/slot_queue.hpp"
#include "support/catch.hpp"

using warren::engine::AckTracker;
using warren::engine::ConfirmTracker;
using Settlement = AckTracker::Settlement;

namespace {

AckTracker with_deliveries(std::uint64_t count) {
  AckTracker tracker;
  for (std::uint64_t tag = 1; tag <= count; ++tag) REQUIRE(tracker.delivered(tag));
  return tracker;
}

std::vector<AckTracker::Ack> flushed(AckTracker& tracker) {
  std::vector<AckTracker::Ack> acks;
  tracker.flush(acks);
  return acks;
}

}  // namespace

TEST_CASE("contiguous acknowledgements merge, others go one by one") {
  AckTracker tracker = with_deliveries(6);
  for (const std::uint64_t tag : {1u, 2u, 3u, 5u}) CHECK(tracker.acknowledge(tag) == Settlement::accepted);
  CHECK(flushed(tracker) == std::vector<AckTracker::Ack>{{3, true}, {5, false}});
  CHECK(tracker.acknowledge(4) == Settlement::accepted);
  CHECK(flushed(tracker) == std::vector<AckTracker::Ack>{{4, false}});
  CHECK(tracker.pending() == 0);
  CHECK(tracker.unsettled() == 1);
}

TEST_CASE("settling twice is refused, before and after the flush; tag 0 never means all") {
  AckTracker tracker = with_deliveries(3);
  CHECK(tracker.acknowledge(2) == Settlement::accepted);
  CHECK(tracker.acknowledge(2) == Settlement::already_settled);
  CHECK(tracker.settle(2) == Settlement::already_settled);
  flushed(tracker);
  CHECK(tracker.acknowledge(2) == Settlement::already_settled);
  CHECK(tracker.acknowledge(0) == Settlement::unknown_tag);
  CHECK(tracker.acknowledge_up_to(0) == Settlement::unknown_tag);
  CHECK(tracker.acknowledge(4) == Settlement::unknown_tag);
  CHECK(tracker.acknowledge_up_to(3) == Settlement::accepted);
  CHECK(tracker.acknowledge(1) == Settlement::already_settled);
  CHECK(flushed(tracker) == std::vector<AckTracker::Ack>{{3, true}});
}

TEST_CASE("a nack in the middle is not covered by a later multiple") {
  AckTracker tracker = with_deliveries(3);
  CHECK(tracker.settle(2) == Settlement::accepted);
  CHECK(tracker.acknowledge(3) == Settlement::accepted);
  CHECK(flushed(tracker) == std::vector<AckTracker::Ack>{{3, false}});
  CHECK(tracker.acknowledge(1) == Settlement::accepted);
  CHECK(flushed(tracker) == std::vector<AckTracker::Ack>{{1, false}});
}

TEST_CASE("a delivery tag out of order is a protocol error") {
  AckTracker tracker = with_deliveries(2);
  CHECK_FALSE(tracker.delivered(2));
  CHECK_FALSE(tracker.delivered(4));
  CHECK(tracker.delivered(3));
}

TEST_CASE("random acknowledgements settle each delivery exactly once, as a broker reads them") {
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  AckTracker tracker;
  std::uint64_t delivered = 0;
  std::vector<std::uint64_t> mine;
  std::set<std::uint64_t> broker;  // outstanding on the broker's side
  std::uint64_t acknowledged = 0;
  const auto apply = [&] {
    std::vector<AckTracker::Ack> acks;
    tracker.flush(acks);
    for (const auto& ack : acks) {
      REQUIRE(broker.contains(ack.delivery_tag));
      const auto last = broker.find(ack.delivery_tag);
      broker.erase(ack.multiple ? broker.begin() : last, std::next(last));
    }
    REQUIRE(broker.size() == mine.size());
  };
  for (int step = 0; step < 20'000; ++step) {
    if (mine.empty() || random() % 2 == 0) {
      REQUIRE(tracker.delivered(++delivered));
      mine.push_back(delivered);
      broker.insert(delivered);
    } else {
      const auto index = static_cast<std::ptrdiff_t>(random() % mine.size());
      REQUIRE(tracker.acknowledge(mine[static_cast<std::size_t>(index)]) == Settlement::accepted);
      mine.erase(mine.begin() + index);
      ++acknowledged;
    }
    if (random() % 8 == 0) apply();
  }
  apply();
  CHECK(acknowledged + broker.size() == delivered);
}

TEST_CASE("out-of-order and multiple confirms map to their publishes, each once") {
  ConfirmTracker<char> tracker;
  for (const char c : {'a', 'b', 'c', 'd', 'e'}) tracker.add(c);
  std::string settled;
  const auto note = [&](char c) { settled += c; };
  CHECK(tracker.settle(3, false, note));
  CHECK_FALSE(tracker.settle(3, false, note));
  CHECK(tracker.settle(4, true, note));
  CHECK(settled == "cabd");
  CHECK(tracker.outstanding() == 1);
  CHECK_FALSE(tracker.settle(2, false, note));
  CHECK_FALSE(tracker.settle(6, false, note));
  CHECK(tracker.settle(0, true, note));
  CHECK(settled == "cabde");
  CHECK(tracker.add('f') == 6);
}

TEST_CASE("a reset loses each outstanding publish once and starts at number 1") {
  ConfirmTracker<char> tracker;
  for (const char c : {'a', 'b', 'c'}) tracker.add(c);
  std::string lost;
  CHECK(tracker.settle(2, false, [](char) {}));
  tracker.reset([&](char c) { lost += c; });
  CHECK(lost == "ac");
  CHECK(tracker.outstanding() == 0);
  CHECK(tracker.add('d') == 1);
}

TEST_CASE("a queue of slots keeps its order, and never allocates beyond its room") {
  std::vector<int> slots(8);
  warren::engine::SlotQueue<int> queue;
  queue.reserve(slots.size());
  const auto contents = [&] {
    std::vector<std::ptrdiff_t> indices;
    for (const int* slot : queue) indices.push_back(slot - slots.data());
    return indices;
  };
  for (std::size_t i = 0; i < 4; ++i) queue.push_back(&slots[i]);
  queue.pop_front();
  queue.pop_front();
  CHECK(contents() == std::vector<std::ptrdiff_t>{2, 3});
  // Room that was left in front is used again.
  const int* const* const first = &*queue.begin() - 2;
  for (std::size_t i = 4; i < slots.size(); ++i) queue.push_back(&slots[i]);
  queue.push_front({&slots[0], &slots[1]});
  CHECK(contents() == std::vector<std::ptrdiff_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(&*queue.begin() == first);
  CHECK(queue.size() == slots.size());
  CHECK(queue[3] == &slots[3]);
  CHECK(*queue.erase(queue.begin() + 1) == &slots[2]);
  while (!queue.empty()) queue.pop_front();
  for (int& slot : slots) queue.push_back(&slot);
  CHECK(&*queue.begin() == first);
  CHECK(queue.front() == &slots[0]);
}
