#include "retry/republisher.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <warren/channel.hpp>
#include <warren/connection.hpp>
#include <warren/error.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"

// The sender of copies by itself; consumers with it are in retry_test.cpp.

namespace {

using namespace warren;
using namespace std::chrono_literals;
using support::eventually;

/// The queue of the shared broker that copies go to, removed at the end.
class Target {
 public:
  Target() { connection_.open_channel().declare_queue(queue); }
  ~Target() {
    try {
      connection_.open_channel().declare_queue_passive(queue).remove();
    } catch (const Error&) {  // the test has failed already
    }
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  [[nodiscard]] std::uint32_t ready() const { return open().declare_queue_passive(queue).message_count(); }
  /// The body of the next message, off the queue.
  [[nodiscard]] std::string take() const {
    std::optional<Delivery> got;
    Channel on = open();
    REQUIRE(eventually([&] { return (got = on.get_no_ack(queue)).has_value(); }));
    return std::string(got->body());
  }

  const std::string queue = support::unique_name("retry_copies");

 private:
  [[nodiscard]] Channel open() const { return connection_.open_channel(); }
  mutable Connection connection_{support::shared_broker().url(), support::test_options()};
};

/// For the sender of copies alone: what it would log, and a stop that the test decides.
struct Sender {
  Sender(std::string url, const std::string& queue, std::string name = {})
      : Sender(std::make_shared<retry::PublishingConnection>(
                   [this, address = std::move(url), called = std::move(name)] {
                     ++opened;
                     if (refuse) throw std::runtime_error("no connection, says the test");
                     return Connection(address, support::test_options(called));
                   }),
               queue) {}

  Sender(const std::shared_ptr<retry::PublishingConnection>& shared, const std::string& queue)
      : republisher(shared, 2s, RetryPolicy::to_queue(queue), "orders",
                    [this](LogLevel, const std::string& line) { log.add(line); }) {}

  bool send(const std::string& to, std::string body) {
    return republisher.send({.queue = to, .message = Message(std::move(body))},
                            [this] { return stop.load(); });
  }

  std::atomic<int> opened{0};
  std::atomic<bool> refuse{false};
  std::atomic<bool> stop{false};
  support::LogLines log;
  retry::Republisher republisher;
};

/// A send() under way on a thread of its own, which a failing test ends too.
class Sending {
 public:
  Sending(Sender& sender, const std::string& to, const std::string& body)
      : sender_(sender), thread_([this, to, body] { result_ = sender_.send(to, body) ? 1 : 0; }) {}
  ~Sending() {
    if (!thread_.joinable()) return;
    sender_.stop = true;
    sender_.republisher.wake();
    thread_.join();
  }
  Sending(const Sending&) = delete;
  Sending& operator=(const Sending&) = delete;

  [[nodiscard]] bool is_done() const { return result_ != -1; }
  bool result() {
    thread_.join();
    return result_ == 1;
  }

 private:
  Sender& sender_;
  std::atomic<int> result_{-1};
  std::thread thread_;
};

}  // namespace

TEST_CASE("many threads send copies over one connection") {
  const Target target;
  Sender sender(support::shared_broker().url(), target.queue);
  std::atomic<int> confirmed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) confirmed += sender.send(target.queue, "copy") ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(confirmed == 400);
  CHECK(sender.opened == 1);
  CHECK(target.ready() == 400);
}

TEST_CASE("a copy is held while no connection can be opened; a stop or close ends that at once") {
  const Target target;
  Sender sender(support::shared_broker().url(), target.queue);
  sender.refuse = true;
  Sending sending(sender, target.queue, "copy");
  REQUIRE(eventually([&] { return sender.opened >= 7; }));  // in a pause of 6.4 s by now
  CHECK(sender.log.has("no connection, says the test"));
  CHECK_FALSE(sending.is_done());

  SECTION("it opens at last") {
    sender.refuse = false;
    CHECK(sending.result());
    CHECK(target.take() == "copy");
  }
  SECTION("stop, and wake") {
    sender.stop = true;
    CHECK(support::time_of([&] {
            sender.republisher.wake();
            CHECK_FALSE(sending.result());
          }) < 3s);
  }
  SECTION("close") {
    CHECK(support::time_of([&] {
            sender.republisher.close();
            CHECK_FALSE(sending.result());
          }) < 3s);
    sender.refuse = false;
    CHECK_FALSE(sender.send(target.queue, "copy"));
  }
}

TEST_CASE("a connection for copies that was lost is opened again") {
  const Target target;
  const std::string name = support::unique_name("sender");
  Sender sender(support::shared_broker().url(), target.queue, name);
  REQUIRE(sender.send(target.queue, "first"));
  const auto& broker = support::shared_broker();
  std::string pid;
  REQUIRE(eventually([&] {
    for (const auto& row : broker.list({"list_connections", "pid", "client_properties"})) {
      if (row.size() == 2 && row[1].find(name) != std::string::npos) pid = row[0];
    }
    return !pid.empty();
  }));
  broker.ctl({"close_connection", pid, "says the test"});
  CHECK(sender.send(target.queue, "second"));
  CHECK(sender.opened == 2);
  CHECK(target.take() == "first");
  CHECK(target.take() == "second");
}

TEST_CASE("a copy is held through an alarm and through a killed broker, and arrives") {
  support::PrivateBroker broker;
  const std::string queue = "orders_retry";
  Connection(broker.url()).open_channel().declare_queue(queue);
  Sender sender(broker.url(), queue);
  Sender impatient(broker.url(), queue);
  const auto shared = std::make_shared<retry::PublishingConnection>(
      [&] { return Connection(broker.url(), support::test_options()); });
  Sender early(shared, queue);
  Sender late(shared, queue);
  REQUIRE(sender.send(queue, "first"));  // a broker blocks only connections that publish
  REQUIRE(impatient.send(queue, "first"));

  {
    broker.begin_memory_alarm();
    Sending sending(sender, queue, "through the alarm");
    CHECK(eventually([&] { return sender.log.has("blocks publishing"); }));
    CHECK_FALSE(sending.is_done());
    // Without a channel on a connection that is blocked already: it does not wait for one.
    Sending blocked(early, queue, "early");
    CHECK(eventually([&] { return early.log.has("blocks publishing"); }));
    Sending waiting(late, queue, "late");
    CHECK(eventually([&] { return late.log.has("blocks publishing"); }, support::slack));
    late.stop = true;
    CHECK(support::time_of([&] {
            late.republisher.wake();
            CHECK_FALSE(waiting.result());
          }) < 5s);
    Sending stopped(impatient, queue, "stopped");
    CHECK(eventually([&] { return impatient.log.has("blocks publishing"); }));
    impatient.stop = true;
    CHECK(support::time_of([&] { CHECK_FALSE(stopped.result()); }) < 5s);
    broker.end_memory_alarm();
    CHECK(sending.result());
    CHECK(blocked.result());
  }
  {
    broker.kill();
    Sending sending(sender, queue, "through the crash");
    CHECK(eventually([&] { return sender.opened >= 2; }));
    CHECK_FALSE(sending.is_done());
    broker.restart();
    CHECK(sending.result());
  }

  Connection connection(broker.url());
  Channel channel = connection.open_channel();
  std::set<std::string> bodies;  // more than once is no fault
  CHECK(eventually([&] {
    while (const auto got = channel.get_no_ack(queue)) bodies.emplace(got->body());
    return bodies.contains("first") && bodies.contains("through the alarm") &&
           bodies.contains("through the crash");
  }));
}

TEST_CASE(
    "senders share a connection: a copy that is held holds up no other's, nor does a sender that closes") {
  const Target target;
  Connection connection(support::shared_broker().url(), support::test_options());
  const std::string refusing = support::unique_name("refusing");
  connection.open_channel().declare_queue(
      refusing, {.exclusive = true, .max_length = 0, .overflow = Overflow::reject_publish});
  std::atomic<int> opened{0};
  const auto shared = std::make_shared<retry::PublishingConnection>([&] {
    ++opened;
    return Connection(support::shared_broker().url(), support::test_options());
  });
  Sender stuck(shared, target.queue);
  Sender working(shared, target.queue);
  Sending held(stuck, refusing, "held");
  CHECK(eventually([&] { return stuck.log.has("is held"); }));
  {
    Sender brief(shared, target.queue);
    CHECK(brief.send(target.queue, "brief"));
  }
  for (int i = 0; i < 50; ++i) CHECK(working.send(target.queue, "copy"));
  CHECK_FALSE(held.is_done());
  stuck.republisher.close();
  CHECK_FALSE(held.result());
  CHECK(working.send(target.queue, "copy"));
  CHECK(opened == 1);
  CHECK(target.ready() == 52);

  working.republisher.disconnect();  // the closed one has not left yet
  CHECK(working.send(target.queue, "copy"));
  CHECK(opened == 1);
  stuck.republisher.disconnect();
  working.republisher.disconnect();
  CHECK(working.send(target.queue, "copy"));
  CHECK(opened == 2);
}
