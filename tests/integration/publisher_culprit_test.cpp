// One publish that the broker closes the channel for, among others of the same publisher.
#include <warren/warren.hpp>

#include <atomic>
#include <set>
#include <thread>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/proxy.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::ChannelError;
using warren::Confirmation;
using warren::Connection;
using warren::Message;
using warren::Publisher;
using warren::PublishOutcome;

namespace {

const std::string nowhere = "there-is-no-such-exchange";

struct Proxied {
  TestQueue queue;
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};

  std::size_t channels() const {
    return proxy.count([](const Frame& frame) { return frame.method == method::channel_open; });
  }
};

void check_refused(Confirmation& culprit, std::uint16_t code) {
  const auto error = thrown<ChannelError>([&] { culprit.wait(); });
  CHECK(error.code() == code);
  CHECK(error.permanent());
  CHECK_FALSE(error.in_doubt());
  CHECK(culprit.outcome() == PublishOutcome::refused);
}

// The distinct bodies, as what was in flight may come twice.
std::set<std::string> distinct(TestQueue& queue) {
  const auto all = queue.take_all();
  return {all.begin(), all.end()};
}

}  // namespace

TEST_CASE_METHOD(
    Proxied, "of many in flight only the culprit fails with the broker's 404; the others are sent again") {
  Publisher publisher{connection, {.routing_key = queue.name(), .window = 2'000}};
  const std::size_t at = GENERATE(as<std::size_t>(), 0, 1, 500, 998, 999);
  proxy.stall(Direction::to_broker);
  std::vector<Confirmation> confirmations;
  std::set<std::string> sent;
  for (std::size_t i = 0; i < 1'000; ++i) {
    const bool bad = i == at;
    if (!bad) sent.insert(std::to_string(i));
    confirmations.push_back(
        publisher.publish_async(Message(std::to_string(i)),
                                {.exchange = bad ? std::optional<std::string_view>(nowhere) : std::nullopt}));
  }
  const std::size_t before = channels();
  proxy.resume();
  for (std::size_t i = 0; i < confirmations.size(); ++i) {
    if (i == at) {
      check_refused(confirmations[i], 404);
    } else {
      CHECK_NOTHROW(confirmations[i].wait());
    }
  }
  CHECK(publisher.in_flight() == 0);
  CHECK(channels() <= before + 3);
  CHECK(distinct(queue) == sent);
}

TEST_CASE_METHOD(Proxied, "a culprit that the broker's text does not name is found by halves") {
  Publisher publisher{connection, {.routing_key = queue.name(), .window = 2'000}};
  proxy.stall(Direction::to_broker);
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 500; ++i) {
    confirmations.push_back(i == 333 ? publisher.publish_async(Message("m", {.user_id = "somebody else"}))
                                     : publisher.publish_async(Message(std::to_string(i))));
  }
  const std::size_t before = channels();
  proxy.resume();
  for (std::size_t i = 0; i < confirmations.size(); ++i) {
    if (i == 333) {
      check_refused(confirmations[i], 406);
    } else {
      CHECK_NOTHROW(confirmations[i].wait());
    }
  }
  CHECK(channels() <= before + 11);  // one for each halving, and the last
  CHECK(distinct(queue).size() == 499);
}

TEST_CASE_METHOD(Proxied, "many culprits among many: each is refused, and nobody else") {
  Publisher publisher{connection, {.routing_key = queue.name(), .window = 2'000}};
  proxy.stall(Direction::to_broker);
  std::vector<Confirmation> confirmations;
  for (std::size_t i = 0; i < 300; ++i) {
    if (i % 10 == 7) {
      confirmations.push_back(publisher.publish_async(Message("m", {.user_id = "somebody else"})));
    } else if (i % 10 == 3) {
      confirmations.push_back(publisher.publish_async(Message("m"), {.exchange = nowhere}));
    } else {
      confirmations.push_back(publisher.publish_async(Message(std::to_string(i))));
    }
  }
  proxy.resume();
  for (std::size_t i = 0; i < confirmations.size(); ++i) {
    if (i % 10 == 7) {
      check_refused(confirmations[i], 406);
    } else if (i % 10 == 3) {
      check_refused(confirmations[i], 404);
    } else {
      CHECK_NOTHROW(confirmations[i].wait());
    }
  }
  CHECK(distinct(queue).size() == 240);
}

TEST_CASE_METHOD(Proxied, "a thread whose publishes fail for ever does not fail those of the others") {
  Publisher publisher{connection, {.routing_key = queue.name()}};
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0};
  std::atomic<int> other{0};
  std::atomic<int> failed{0};
  {
    std::jthread bad([&] {
      while (!stop) {
        try {
          publisher.publish(Message("bad"), {.exchange = nowhere});
          ++other;
        } catch (const ChannelError& error) {
          ++(error.code() == 404 && error.permanent() && !error.in_doubt() ? refused : other);
        }
      }
    });
    std::vector<std::jthread> good;
    for (int thread = 0; thread < 4; ++thread) {
      good.emplace_back([&, thread] {
        for (int i = 0; i < 250; ++i) {
          try {
            publisher.publish(Message(std::to_string(thread * 250 + i)));
          } catch (const std::exception&) {
            ++failed;
          }
        }
      });
    }
    for (auto& each : good) each.join();
    CHECK(eventually([&] { return refused > 0; }));
    stop = true;
  }
  CHECK(failed == 0);
  CHECK(other == 0);
  CHECK(distinct(queue).size() == 1'000);
  // The exchange is there now: what goes to it is like any other.
  warren::Channel channel = connection.open_channel();
  warren::Exchange exchange = channel.declare_exchange(nowhere, {.durable = false});
  channel.declare_queue_passive(queue.name()).bind(exchange, queue.name());
  std::vector<Confirmation> confirmations;
  for (int i = 0; i < 10; ++i)
    confirmations.push_back(publisher.publish_async(Message("m"), {.exchange = nowhere}));
  for (Confirmation& each : confirmations) CHECK_NOTHROW(each.wait());
  CHECK(queue.ready() == 10);
  exchange.remove();
}

TEST_CASE_METHOD(
    Proxied, "large messages in flight are sent again whole when the channel was closed over another one") {
  Publisher publisher{connection, {.routing_key = queue.name()}};
  proxy.throttle(2'000'000);  // some are still being written when the channel closes
  std::vector<Confirmation> confirmations;
  Confirmation bad = publisher.publish_async(Message("m"), {.exchange = nowhere});
  for (int i = 0; i < 8; ++i) {
    confirmations.push_back(
        publisher.publish_async(Message(std::string(300'000, static_cast<char>('a' + i)))));
  }
  check_refused(bad, 404);
  for (Confirmation& each : confirmations) CHECK_NOTHROW(each.wait());
  std::set<std::string> bodies = distinct(queue);
  CHECK(bodies.size() == 8);
  for (const std::string& body : bodies) CHECK(body == std::string(300'000, body.front()));
  CHECK(connection.is_open());
}

TEST_CASE_METHOD(Proxied,
                 "OnLoss::fail: the innocent fail in doubt and not permanently; nothing is sent again") {
  Publisher publisher{connection, {.routing_key = queue.name(), .on_loss = warren::OnLoss::fail}};
  const bool named = GENERATE(true, false);
  proxy.stall(Direction::to_broker);
  std::vector<Confirmation> innocent;
  for (int i = 0; i < 10; ++i) innocent.push_back(publisher.publish_async(Message(std::to_string(i))));
  Confirmation bad = named ? publisher.publish_async(Message("m"), {.exchange = nowhere})
                           : publisher.publish_async(Message("m", {.user_id = "somebody else"}));
  for (int i = 10; i < 20; ++i) innocent.push_back(publisher.publish_async(Message(std::to_string(i))));
  proxy.resume();
  int failed = 0;
  for (Confirmation& each : innocent) {
    try {
      each.wait();
    } catch (const ChannelError& error) {
      ++failed;
      CHECK(error.in_doubt());
      CHECK_FALSE(error.permanent());
      CHECK(each.outcome() == PublishOutcome::unknown);
    }
  }
  CHECK(failed >= 10);
  if (named) {
    check_refused(bad, 404);
  } else {
    CHECK_THROWS_AS(bad.wait(), ChannelError);
  }
  CHECK_NOTHROW(publisher.publish(Message("after")));
  CHECK(queue.ready() <= 11);
}

TEST_CASE_METHOD(Proxied,
                 "failures of dropped Confirmations are logged as errors, with their count, in few lines") {
  LogLines lines;
  std::atomic<int> errors{0};
  warren::ConnectionOptions options = test_options();
  options.on_log = [&](const warren::LogEvent& event) {
    if (event.level != warren::LogLevel::error) return;
    ++errors;
    lines.add(event.text);
  };
  Connection logged{proxy.endpoint(), options};
  Publisher publisher{logged, {.routing_key = queue.name()}};
  for (int i = 0; i < 100; ++i) {
    (void)publisher.publish_async(Message("m"), {.routing_key = "there-is-no-such-queue"});
  }
  CHECK(eventually([&] { return lines.has("(100 since"); }));
  CHECK(lines.has("returned"));
  CHECK(lines.has("there-is-no-such-queue"));
  CHECK(errors < 20);
  (void)publisher.publish_async(Message("m"), {.exchange = nowhere});
  CHECK(eventually([&] { return lines.has("1 refused (101 since"); }));
  CHECK_THROWS_AS(publisher.flush(10s), warren::ReturnedError);  // the first one
}
