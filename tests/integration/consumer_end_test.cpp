#include <warren/warren.hpp>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

// A consumer that ends by itself: a log line at level error, and on_end.

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::ConsumerOptions;
using warren::Delivery;
using warren::LogLevel;

namespace {

// What on_end was told, and what was logged at level error. Must outlive the connection.
class Ends {
 public:
  [[nodiscard]] warren::ConnectionOptions connection_options() {
    warren::ConnectionOptions options = test_options();
    options.on_log = [this](const warren::LogEvent& event) {
      const std::lock_guard lock(mutex_);
      log_thread_ = std::this_thread::get_id();
      if (event.level == LogLevel::error) lines_.push_back(event.text);
    };
    return options;
  }
  [[nodiscard]] warren::ConsumerEndCallback callback() {
    return [this](std::exception_ptr error) {
      const std::lock_guard lock(mutex_);
      thread_ = std::this_thread::get_id();
      errors_.push_back(std::move(error));
    };
  }
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return errors_.size();
  }
  // Throws the first one.
  void rethrow() const {
    const std::lock_guard lock(mutex_);
    std::rethrow_exception(errors_.at(0));
  }
  [[nodiscard]] bool on_the_thread_for_events() const {
    const std::lock_guard lock(mutex_);
    return thread_ == log_thread_;
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::exception_ptr> errors_;
  std::vector<std::string> lines_;
  std::thread::id thread_;
  std::thread::id log_thread_;
};

struct Fixture {
  Ends ends;
  TestQueue queue;
  Connection connection{shared_broker().endpoint(), ends.connection_options()};

  ConsumerOptions options() { return {.on_end = ends.callback()}; }
  void check_line(std::string_view cause) {
    REQUIRE(eventually([&] { return !ends.lines().empty(); }));
    const auto lines = ends.lines();
    CHECK(lines.size() == 1);
    CHECK(contains(lines.front(), "consumer of \"" + queue.name() + "\": ended: "));
    CHECK(contains(lines.front(), cause));
    CHECK_FALSE(contains(lines.front(), "\n"));
  }
};

const auto nothing = [](const Delivery&) {};

}  // namespace

TEST_CASE_METHOD(Fixture, "a consumer whose queue is deleted says so: on_end, and a line at level error") {
  Consumer consumer{connection, queue.name(), options()};
  consumer.start(nothing);
  queue.queue().remove();
  REQUIRE(eventually([&] { return ends.count() == 1; }));
  CHECK_THROWS_AS(ends.rethrow(), warren::ConsumerCancelledError);
  CHECK(ends.on_the_thread_for_events());
  CHECK_THROWS_AS(consumer.wait(), warren::ConsumerCancelledError);
  check_line("404");
  consumer.stop();
  CHECK(ends.count() == 1);
}

TEST_CASE_METHOD(Fixture, "a handler that throws without a retry policy ends its consumer, which says so") {
  queue.fill(1);
  std::thread::id worker;
  const auto fail = [&](const Delivery&) {
    worker = std::this_thread::get_id();
    throw std::runtime_error("no\nstock");
  };
  Consumer consumer{connection, queue.name(), options()};
  SECTION("started") { consumer.start(fail); }
  SECTION("run, which rethrows it, too") { CHECK_THROWS_AS(consumer.run(fail), std::runtime_error); }
  REQUIRE(eventually([&] { return ends.count() == 1; }));
  CHECK_THROWS_WITH(ends.rethrow(), "no\nstock");
  CHECK(ends.on_the_thread_for_events());
  check_line("no stock");
  CHECK(queue.holds(1));
}

TEST_CASE("a consumer whose connection fails says so") {
  Ends ends;
  TestQueue queue;
  Proxy proxy(shared_broker().endpoint());
  Connection connection{proxy.endpoint(), ends.connection_options()};
  Consumer consumer{connection, queue.name(), {.on_end = ends.callback()}};
  consumer.start(nothing);
  proxy.cut();
  REQUIRE(eventually([&] { return ends.count() == 1; }));
  CHECK_THROWS_AS(ends.rethrow(), warren::ConnectionError);
  CHECK(eventually([&] {
    const auto lines = ends.lines();
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return contains(line, "consumer of \"" + queue.name() + "\": ended: ");
    });
  }));
}

TEST_CASE_METHOD(Fixture, "a stop that was asked for is not told by on_end, nor logged as an error") {
  queue.fill(3);
  Consumer consumer{connection, queue.name(), options()};
  SECTION("stop()") {
    consumer.start(nothing);
    consumer.stop();
  }
  SECTION("request_stop()") {
    consumer.start(nothing);
    consumer.request_stop();
    consumer.wait();
  }
  SECTION("a stop token") {
    std::stop_source stop;
    consumer.run([&](const Delivery&) { stop.request_stop(); }, stop.get_token());
  }
  SECTION("the destructor") {
    Consumer other{connection, queue.name(), options()};
    other.start(nothing);
  }
  SECTION("start() that throws") {
    Consumer other{connection, unique_name("missing"), options()};
    CHECK_THROWS_AS(other.start(nothing), warren::ChannelError);
  }
  SECTION("the connection's own close") {
    consumer.start(nothing);
    connection.close();
    CHECK_THROWS_AS(consumer.wait(), warren::ConnectionError);
  }
  connection.close();  // tells what is queued first
  CHECK(ends.count() == 0);
  CHECK(ends.lines().empty());
}

TEST_CASE_METHOD(Fixture, "each run that ends by itself is told, and on_end may start the next one") {
  queue.fill(3);
  std::atomic<int> told{0};
  std::atomic<Consumer*> self{nullptr};
  const auto fail = [](const Delivery&) { throw std::runtime_error("down"); };
  Consumer consumer{connection, queue.name(), {.on_end = [&](const std::exception_ptr&) {
                      if (++told < 3) self.load()->start(fail);
                    }}};
  self = &consumer;
  consumer.start(fail);
  CHECK(eventually([&] { return told == 3; }));
  CHECK(queue.holds(3));
}

TEST_CASE_METHOD(Fixture, "what on_end throws is dropped, and the next one is called") {
  queue.fill(1);
  const auto fail = [](const Delivery&) { throw std::runtime_error("down"); };
  Consumer first{connection, queue.name(), {.on_end = [](const std::exception_ptr&) { throw 1; }}};
  CHECK_THROWS_AS(first.run(fail), std::runtime_error);
  Consumer second{connection, queue.name(), options()};
  CHECK_THROWS_AS(second.run(fail), std::runtime_error);
  CHECK(eventually([&] { return ends.count() == 1; }));
}

TEST_CASE_METHOD(Fixture, "the destructor waits for an on_end that runs, and none begins after it") {
  queue.fill(1);
  Gate gate;
  std::atomic<int> ended{0};
  auto consumer = std::make_unique<Consumer>(connection, queue.name(),
                                             ConsumerOptions{.on_end = [&](const std::exception_ptr&) {
                                               gate.pass();
                                               ++ended;
                                             }});
  CHECK_THROWS_AS(consumer->run([](const Delivery&) { throw std::runtime_error("down"); }),
                  std::runtime_error);
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  auto destroying = std::async(std::launch::async, [&] {
    consumer.reset();
    return ended.load();
  });
  CHECK(destroying.wait_for(100ms) == std::future_status::timeout);
  gate.open();
  CHECK(destroying.get() == 1);
}

TEST_CASE("an on_end that waits behind a slow log callback does not begin after the destructor") {
  Gate gate;
  TestQueue queue;
  queue.fill(1);
  std::atomic<int> told{0};
  warren::ConnectionOptions options = test_options();
  options.on_log = [&](const warren::LogEvent& event) {
    if (event.level == LogLevel::error) gate.pass();
  };
  Connection connection{shared_broker().endpoint(), options};
  {
    Consumer consumer{connection,
                      queue.name(),
                      {.stop_within = 300ms, .on_end = [&](const std::exception_ptr&) { ++told; }}};
    CHECK_THROWS_AS(consumer.run([](const Delivery&) { throw std::runtime_error("down"); }),
                    std::runtime_error);
    REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  }
  gate.open();
  connection.close();
  CHECK(told == 0);
}

TEST_CASE_METHOD(Fixture, "a consumer may be destroyed in its own on_end") {
  queue.fill(1);
  std::unique_ptr<Consumer> consumer;
  std::atomic<bool> destroyed{false};
  std::atomic<bool> made{false};
  consumer = std::make_unique<Consumer>(connection, queue.name(),
                                        ConsumerOptions{.on_end = [&](const std::exception_ptr&) {
                                          made.wait(false);
                                          consumer.reset();
                                          destroyed = true;
                                        }});
  consumer->start([](const Delivery&) { throw std::runtime_error("down"); });
  made = true;
  made.notify_all();
  CHECK(eventually([&] { return destroyed.load(); }));
  CHECK(queue.holds(1));
}
