#include "engine/one_opens.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using warren::engine::OneOpens;

namespace {

// Something that several threads need, and that takes until `may_end` to be opened.
struct Owner {
  std::mutex mutex;
  OneOpens opening;
  std::shared_ptr<int> opened;
  bool closed = false;
  std::atomic<int> attempts{0};
  std::atomic<int> waiting{0};
  std::promise<void> may_end;
  std::shared_future<void> end = may_end.get_future().share();

  // The loop of the class's comment.
  std::shared_ptr<int> use(OneOpens::Clock::time_point deadline = OneOpens::Clock::time_point::max()) {
    std::unique_lock lock(mutex);
    while (!opened && !closed) {
      if (opening.is_running()) {
        ++waiting;
        if (opening.wait(lock, deadline, [&] { return closed; })) continue;
        return nullptr;
      }
      auto made = opening.run(lock, [&] {
        const int number = ++attempts;
        end.wait();
        if (number == 1 && first_fails) throw std::runtime_error("the first attempt");
        return std::make_shared<int>(number);
      });
      if (!closed) opened = std::move(made);
    }
    return opened;
  }
  bool first_fails = false;
  void await_waiting(int count) const {
    while (attempts == 0 || waiting < count) std::this_thread::yield();
  }
};

}  // namespace

TEST_CASE("of several threads one opens, and all get what it opened") {
  Owner owner;
  std::vector<std::future<std::shared_ptr<int>>> all;
  for (int i = 0; i < 4; ++i) all.push_back(std::async(std::launch::async, [&] { return owner.use(); }));
  owner.await_waiting(3);
  owner.may_end.set_value();
  for (auto& each : all) CHECK(*each.get() == 1);
  CHECK(owner.attempts == 1);
  CHECK(owner.opening.ended() == 1);
}

TEST_CASE("what the attempt throws reaches its own thread; one of those that waited makes the next attempt") {
  Owner owner;
  owner.first_fails = true;
  auto first = std::async(std::launch::async, [&] { return owner.use(); });
  while (owner.attempts == 0) std::this_thread::yield();
  auto second = std::async(std::launch::async, [&] { return owner.use(); });
  owner.await_waiting(1);
  owner.may_end.set_value();
  CHECK_THROWS_AS(first.get(), std::runtime_error);
  CHECK(*second.get() == 2);
  CHECK_FALSE(owner.opening.is_running());
}

TEST_CASE("who waits for an attempt leaves at its deadline, or when it is woken and wants to") {
  Owner owner;
  auto first = std::async(std::launch::async, [&] { return owner.use(); });
  while (owner.attempts == 0) std::this_thread::yield();
  CHECK(owner.use(OneOpens::Clock::now() + 1ms) == nullptr);
  auto third = std::async(std::launch::async, [&] { return owner.use(); });
  owner.await_waiting(2);
  {
    const std::lock_guard lock(owner.mutex);
    owner.closed = true;
    owner.opening.wake();
  }
  CHECK(third.get() == nullptr);
  owner.may_end.set_value();
  CHECK(first.get() == nullptr);
}
