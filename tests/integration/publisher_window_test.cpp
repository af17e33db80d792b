#include <warren/warren.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Confirmation;
using warren::Connection;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;
using warren::ReturnedError;
using warren::TimeoutError;

namespace {

struct Fixture {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  Publisher publisher(warren::PublisherOptions options = {}) {
    options.routing_key = queue.name();
    return Publisher(connection, std::move(options));
  }
};

const std::string nowhere = "there-is-no-such-queue";

// It waited in vain, and was never sent.
template <typename Call>
bool finds_no_room(Call&& call) {
  const auto error = thrown<TimeoutError>(std::forward<Call>(call));
  CHECK(error.scope() == warren::ErrorScope::operation);
  CHECK_FALSE(error.permanent());
  return !error.in_doubt();
}

}  // namespace

TEST_CASE_METHOD(Fixture, "publish_async() blocks at `window` messages in flight") {
  auto publisher = this->publisher({.window = 4});
  proxy.stall();
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 4; ++i) confirmations.push_back(publisher.publish_async(Message(std::to_string(i))));
  CHECK(publisher.in_flight() == 4);
  CHECK(finds_no_room([&] { return publisher.publish_async(Message("m"), {.timeout = 200ms}); }));
  CHECK(finds_no_room([&] { publisher.publish(Message("m"), {.timeout = 200ms}); }));
  CHECK(publisher.in_flight() == 4);

  auto blocked = std::async(std::launch::async, [&] { return publisher.publish_async(Message("4")); });
  CHECK(blocked.wait_for(200ms) == std::future_status::timeout);
  proxy.resume();
  REQUIRE(blocked.wait_for(10s) == std::future_status::ready);
  CHECK_NOTHROW(blocked.get().wait());
  for (Confirmation& each : confirmations) CHECK_NOTHROW(each.wait());
  CHECK(queue.ready() == 5);
  CHECK(queue.take_all() == numbered(5));
}

TEST_CASE_METHOD(Fixture, "publish_async() blocks at `window_bytes` in flight") {
  auto publisher = this->publisher({.window_bytes = 100'000});
  proxy.stall();
  const Message message(std::string(30'000, 'x'));
  for (int i = 0; i < 3; ++i) (void)publisher.publish_async(message);
  CHECK(finds_no_room([&] { return publisher.publish_async(message, {.timeout = 200ms}); }));
  CHECK(publisher.in_flight() == 3);
  CHECK_NOTHROW(publisher.publish_async(Message("a small one has room")));
  proxy.resume();
  CHECK_NOTHROW(publisher.flush(10s));
  CHECK_NOTHROW(publisher.publish_async(message));
  publisher.flush(10s);
  CHECK(queue.ready() == 5);
}

TEST_CASE_METHOD(Fixture, "a single message above window_bytes is admitted, alone") {
  auto publisher = this->publisher({.window_bytes = 10'000});
  const Message large(std::string(200'000, 'x'));
  publisher.publish(large);

  SECTION("nothing enters beside it") {
    proxy.stall(Direction::to_client);
    (void)publisher.publish_async(large);
    CHECK(publisher.in_flight() == 1);
    CHECK(finds_no_room([&] { return publisher.publish_async(Message("m"), {.timeout = 200ms}); }));
    CHECK(finds_no_room([&] { return publisher.publish_async(large, {.timeout = 200ms}); }));
  }
  SECTION("it waits for what is in flight") {
    proxy.stall(Direction::to_client);
    (void)publisher.publish_async(Message("m"));
    CHECK(finds_no_room([&] { return publisher.publish_async(large, {.timeout = 200ms}); }));
  }
  CHECK(publisher.in_flight() == 1);
  proxy.resume();
  CHECK_NOTHROW(publisher.publish(large));
  CHECK(queue.ready() == 3);
}

TEST_CASE_METHOD(
    Fixture,
    "what waits to be written is bounded too, whatever the window: publishers block, and nothing "
    "of theirs is lost") {
  auto publisher = this->publisher({.window = 1'000'000, .window_bytes = std::size_t{1} << 40});
  Publisher other(connection, {.routing_key = nowhere, .mandatory = false});
  proxy.stall();
  const Message message(std::string(10'000, 'x'));
  std::atomic<std::size_t> sent = 0;
  constexpr std::size_t far_too_many = 10'000;  // or a failure would take the machine's memory
  std::atomic<bool> stop{false};
  auto publishing = std::async(std::launch::async, [&] {
    for (; !stop && sent < far_too_many; ++sent) (void)publisher.publish_async(message, {.timeout = 120s});
  });
  CHECK(eventually([&] {  // there is no room for the other one, either
    try {
      (void)other.publish_async(message, {.timeout = 100ms});
      return false;
    } catch (const TimeoutError& error) {
      return !error.in_doubt();
    }
  }));
  CHECK(eventually([&] { return publisher.in_flight() == sent; }));  // it blocks
  CHECK(sent < far_too_many);
  stop = true;
  // The outbox (1 MiB), what the I/O thread took out of it, the kernel's buffers on the way.
  CHECK(sent * message.body().size() < (std::size_t{32} << 20));
  proxy.resume();
  CHECK_NOTHROW(publishing.get());
  CHECK_NOTHROW(publisher.flush(60s));
  CHECK(queue.ready() == sent);
}

TEST_CASE_METHOD(
    Fixture,
    "with more threads than room in the window each gets its turn: no publish starves") {
  auto publisher = this->publisher({.window = 4, .timeout = 20s});
  constexpr int turns = 20;
  std::array<std::atomic<int>, 12> done{};  // of each thread
  std::atomic<int> failed{0};
  const auto all_had_turns = [&] {
    return std::ranges::all_of(done, [](int count) { return count >= turns; });
  };
  const auto end = std::chrono::steady_clock::now() + 60s;
  {
    std::vector<std::jthread> crowd;
    for (std::atomic<int>& count : done) {
      crowd.emplace_back([&] {
        // Who had its turns goes on, in the way of those that had not.
        while (!all_had_turns() && std::chrono::steady_clock::now() < end) {
          try {
            publisher.publish(Message("m"));
            ++count;
          } catch (const warren::Error&) {
            ++failed;
          }
        }
      });
    }
  }
  CHECK(failed == 0);
  CHECK(all_had_turns());
  CHECK(queue.ready() == static_cast<std::uint32_t>(std::accumulate(done.begin(), done.end(), 0)));
}

TEST_CASE_METHOD(Fixture,
                 "a publish that timed out does not shift the numbering: later outcomes stay with their "
                 "messages") {
  auto publisher = this->publisher();
  const auto stalled = GENERATE(Direction::to_client, Direction::to_broker);
  proxy.stall(stalled);
  for (int i = 0; i < 3; ++i) {
    const auto error =
        thrown<TimeoutError>([&] { publisher.publish(Message(std::to_string(i)), {.timeout = 100ms}); });
    CHECK(error.in_doubt());
    CHECK_FALSE(error.permanent());
    CHECK(error.scope() == warren::ErrorScope::operation);
  }
  const auto unroutable = thrown<TimeoutError>(
      [&] { publisher.publish(Message("m"), {.routing_key = nowhere, .timeout = 100ms}); });
  CHECK(unroutable.in_doubt());
  // Given up in another way: nobody looks at it.
  (void)publisher.publish_async(Message("3"));
  // Given up, and looked at again.
  Confirmation patient = publisher.publish_async(Message("4"));
  CHECK_FALSE(patient.wait_for(50ms));
  CHECK(patient.outcome() == PublishOutcome::pending);
  CHECK(publisher.in_flight() == 2);  // the others have ended for their callers

  proxy.resume();
  for (int i = 5; i < 10; ++i) {
    CHECK_THROWS_AS(publisher.publish(Message("m"), {.routing_key = nowhere}), ReturnedError);
    CHECK_NOTHROW(publisher.publish(Message(std::to_string(i))));
  }
  CHECK(patient.wait_for(10s));
  CHECK(patient.outcome() == PublishOutcome::confirmed);
  CHECK(publisher.in_flight() == 0);
  CHECK(queue.take_all() == numbered(10));
}

TEST_CASE_METHOD(Fixture,
                 "a publish that found no room is not numbered: outcomes stay with their messages") {
  auto publisher = this->publisher({.window = 1});
  proxy.stall();
  Confirmation first = publisher.publish_async(Message("first"), {.routing_key = nowhere});
  for (int i = 0; i < 3; ++i) {
    CHECK(finds_no_room([&] { publisher.publish(Message("never sent"), {.timeout = 50ms}); }));
  }
  proxy.resume();
  CHECK_THROWS_AS(first.wait(), ReturnedError);
  CHECK_NOTHROW(publisher.publish(Message("second")));
  CHECK(queue.take_all() == std::multiset<std::string>{"second"});
}

TEST_CASE_METHOD(Fixture, "flush() waits until nothing is in flight, and says so where it does not") {
  auto publisher = this->publisher();
  CHECK_NOTHROW(publisher.flush(1ms));
  for (int i = 0; i < 200; ++i) (void)publisher.publish_async(Message(std::to_string(i)));
  CHECK_NOTHROW(publisher.flush(10s));
  CHECK(publisher.in_flight() == 0);
  CHECK(queue.ready() == 200);

  proxy.stall();
  (void)publisher.publish_async(Message("200"));
  const auto error = thrown<TimeoutError>([&] { publisher.flush(200ms); });
  CHECK(error.in_doubt());
  CHECK(error.scope() == warren::ErrorScope::operation);
  auto flush = std::async(std::launch::async, [&] { publisher.flush(10s); });
  CHECK(flush.wait_for(100ms) == std::future_status::timeout);
  proxy.resume();
  CHECK_NOTHROW(flush.get());
  CHECK(queue.take_all() == numbered(201));
}

TEST_CASE_METHOD(Fixture, "flush() without an argument waits at most the publisher's timeout") {
  auto publisher = this->publisher({.timeout = 200ms});
  CHECK_NOTHROW(publisher.flush());
  proxy.stall();
  Confirmation open = publisher.publish_async(Message("m"), {.timeout = 60s});
  CHECK(time_of([&] { CHECK_THROWS_AS(publisher.flush(), TimeoutError); }) < 200ms + slack);
  CHECK(publisher.in_flight() == 1);
  proxy.resume();
  open.wait();
}

TEST_CASE_METHOD(Fixture, "close() of a channel without an answer ends in time, and does not throw") {
  auto options = test_options();
  options.operation_timeout = 300ms;
  Connection impatient{proxy.endpoint(), options};
  warren::Channel channel = impatient.open_channel();
  proxy.stall();
  static_assert(noexcept(channel.close()));
  CHECK(time_of([&] { channel.close(); }) < 300ms + slack);
  CHECK_FALSE(channel.is_open());
  proxy.resume();
}

TEST_CASE_METHOD(Fixture, "flush() throws the first failure of a dropped Confirmation, once") {
  auto publisher = this->publisher();
  const auto fail = [&](std::string_view key) {
    return publisher.publish_async(Message("m"), {.routing_key = key});
  };
  SECTION("dropped at once") {
    (void)fail("there-is-no-first");
    (void)fail("there-is-no-second");
    (void)publisher.publish_async(Message("m"));
    const auto error = thrown<ReturnedError>([&] { publisher.flush(10s); });
    CHECK(contains(error.text(), "there-is-no-first"));
    CHECK_NOTHROW(publisher.flush(10s));
  }
  SECTION("dropped after it failed, unseen") {
    {
      const Confirmation later = fail(nowhere);
      CHECK_NOTHROW(publisher.flush(10s));  // somebody may still look
    }
    CHECK_THROWS_AS(publisher.flush(10s), ReturnedError);
    CHECK_NOTHROW(publisher.flush(10s));
  }
  SECTION("replaced by another one") {
    Confirmation later = fail(nowhere);
    publisher.flush(10s);
    later = publisher.publish_async(Message("m"));
    CHECK_THROWS_AS(publisher.flush(10s), ReturnedError);
    CHECK_NOTHROW(later.wait());
  }
  SECTION("what somebody saw is not thrown again") {
    {
      Confirmation waited = fail(nowhere);
      CHECK_THROWS_AS(waited.wait(), ReturnedError);
      const Confirmation asked = fail(nowhere);
      CHECK(eventually([&] { return asked.outcome() == PublishOutcome::returned; }));
    }
    CHECK_THROWS_AS(publisher.publish(Message("m"), {.routing_key = nowhere}), ReturnedError);
    CHECK_NOTHROW(publisher.flush(10s));
  }
}

TEST_CASE_METHOD(Fixture, "a Confirmation can be moved, and tells the same") {
  auto publisher = this->publisher();
  Confirmation first = publisher.publish_async(Message("m"));
  Confirmation second = publisher.publish_async(Message("m"), {.routing_key = nowhere});
  Confirmation moved = std::move(second);
  Confirmation assigned;
  assigned = std::move(first);
  CHECK_NOTHROW(assigned.wait());
  CHECK_THROWS_AS(moved.wait(), ReturnedError);
  std::swap(assigned, moved);
  CHECK(assigned.outcome() == PublishOutcome::returned);
  CHECK(moved.outcome() == PublishOutcome::confirmed);
  std::vector<Confirmation> many;
  for (int i = 0; i < 100; ++i) many.push_back(publisher.publish_async(Message("m")));
  for (Confirmation& each : many) CHECK_NOTHROW(each.wait());
}

TEST_CASE_METHOD(Fixture, "a Publisher can be moved while messages are in flight") {
  auto first = publisher();
  proxy.stall();
  Confirmation before = first.publish_async(Message("m"));
  Publisher second = std::move(first);
  Confirmation after = second.publish_async(Message("m"));
  CHECK(second.in_flight() == 2);
  proxy.resume();
  CHECK_NOTHROW(before.wait());
  CHECK_NOTHROW(after.wait());
  second = publisher();
  CHECK_NOTHROW(second.publish(Message("m")));
  CHECK(queue.ready() == 3);
}

namespace {

// What on_settled told, and how often.
struct Told {
  std::mutex mutex;
  std::vector<PublishOutcome> outcomes;
  std::vector<std::string> errors;
  std::vector<std::thread::id> threads;

  warren::SettledCallback callback() {
    return [this](PublishOutcome outcome, const warren::ErrorDetails* error) {
      const std::lock_guard lock(mutex);
      outcomes.push_back(outcome);
      errors.push_back(error == nullptr ? "" : error->text);
      threads.push_back(std::this_thread::get_id());
    };
  }
  std::size_t count() {
    const std::lock_guard lock(mutex);
    return outcomes.size();
  }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "on_settled() is called once, with the outcome and the error, on another thread") {
  Told told;
  auto publisher = this->publisher();
  proxy.stall();
  publisher.publish_async(Message("m")).on_settled(told.callback());  // the Confirmation is dropped
  publisher.publish_async(Message("m"), {.routing_key = nowhere}).on_settled(told.callback());
  Confirmation kept = publisher.publish_async(Message("m"));
  kept.on_settled([&](PublishOutcome outcome, const warren::ErrorDetails* error) {
    told.callback()(outcome, error);
    throw std::runtime_error("dropped");
  });
  CHECK(thrown<warren::LogicError>([&] { kept.on_settled(told.callback()); }).permanent());
  CHECK_THROWS_AS(kept.on_settled({}), warren::InvalidArgument);
  CHECK(told.count() == 0);
  proxy.resume();
  REQUIRE(eventually([&] { return told.count() == 3; }));
  CHECK(std::ranges::count(told.outcomes, PublishOutcome::confirmed) == 2);
  const auto returned = std::ranges::find(told.outcomes, PublishOutcome::returned);
  REQUIRE(returned != told.outcomes.end());
  CHECK(contains(told.errors[static_cast<std::size_t>(returned - told.outcomes.begin())], nowhere));
  CHECK(std::ranges::count(told.errors, "") == 2);
  CHECK(std::ranges::count(told.threads, std::this_thread::get_id()) == 0);
  CHECK_NOTHROW(publisher.flush(10s));  // the callback has seen the failure
  CHECK(kept.wait_for(0ms));

  Confirmation settled = publisher.publish_async(Message("m"), {.routing_key = nowhere});
  CHECK_THROWS_AS(settled.wait(), ReturnedError);
  settled.on_settled(told.callback());
  REQUIRE(eventually([&] { return told.count() == 4; }));
  CHECK(told.outcomes[3] == PublishOutcome::returned);
}

TEST_CASE_METHOD(Fixture, "on_settled() tells of a deadline and of a lost connection, with nobody waiting") {
  Told told;
  auto publisher = this->publisher();
  auto dropped = std::make_optional(this->publisher());
  proxy.stall();
  publisher.publish_async(Message("m"), {.timeout = 100ms}).on_settled(told.callback());
  publisher.publish_async(Message("m"), {.timeout = 200ms}).on_settled(told.callback());
  REQUIRE(eventually([&] { return told.count() == 2; }));
  CHECK(told.outcomes == std::vector{PublishOutcome::unknown, PublishOutcome::unknown});
  dropped->publish_async(Message("m")).on_settled(told.callback());
  dropped.reset();
  Confirmation late = publisher.publish_async(Message("m"));
  connection.close();
  CHECK(told.count() == 3);
  CHECK(told.outcomes[2] == PublishOutcome::unknown);
  late.on_settled(told.callback());  // the thread for events has ended
  CHECK(told.count() == 4);
  CHECK(told.outcomes[3] == PublishOutcome::unknown);
  CHECK_FALSE(told.errors[3].empty());
}

TEST_CASE_METHOD(Fixture, "flush() throws the failure of a publish that was looked at before it had failed") {
  auto publisher = this->publisher();
  proxy.stall();
  {
    Confirmation dropped = publisher.publish_async(Message("m"), {.routing_key = nowhere});
    CHECK_FALSE(dropped.wait_for(0ms));
  }
  proxy.resume();
  CHECK_THROWS_AS(publisher.flush(20s), ReturnedError);
}
