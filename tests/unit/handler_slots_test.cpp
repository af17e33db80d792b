#include "consumer/handler_slots.hpp"

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using warren::consumer::HandlerSlots;

TEST_CASE("a slot that is left beside an urgent one's is taken by who waited behind it") {
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    HandlerSlots slots(2);
    const auto enter = [&] { return std::unique_ptr<HandlerSlots::Slot>(new auto(slots.enter(false))); };
    auto first = enter();
    auto second = enter();
    std::promise<void> entered;
    auto urgent = std::async(std::launch::async, [&] {
      const auto slot = slots.enter(true);
      return entered.get_future().wait_for(30s) == std::future_status::ready;  // it needs one of two
    });
    std::this_thread::sleep_for(1ms);  // it waits now, or comes first all the same
    first.reset();
    second.reset();
    const auto slot = slots.enter(false);  // by chance ahead of the urgent one's waking
    entered.set_value();
    REQUIRE(urgent.get());
  }
}
