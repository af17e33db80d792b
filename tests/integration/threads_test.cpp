#include <warren/warren.hpp>

#include <latch>
#include <mutex>
#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::ChannelError;
using warren::Connection;

namespace {

constexpr int thread_count = 16;

// Runs the same call on sixteen threads at once, and waits for all. What they throw is counted and told.
struct Crowd {
  std::atomic<int> failures{0};
  std::mutex mutex;
  std::string first_failure;

  template <typename Call>
  void run(Call&& call) {
    std::latch begin(thread_count);
    std::vector<std::jthread> threads;
    for (int i = 0; i < thread_count; ++i) {
      threads.emplace_back([&, i] {
        begin.arrive_and_wait();
        try {
          call(i);
        } catch (const std::exception& error) {
          const std::lock_guard lock(mutex);
          if (failures++ == 0) first_failure = error.what();
        }
      });
    }
  }
};

}  // namespace

TEST_CASE(
    "sixteen threads share one channel: declarations, raw publishes, gets and acknowledgements, each "
    "answered "
    "with its own") {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  constexpr int rounds = 50;
  std::atomic<int> received{0};
  std::atomic<int> mixed_up{0};
  Crowd crowd;
  crowd.run([&](int thread) {
    const std::string name = unique_name("thread");
    warren::Queue queue = channel.declare_queue(name, {.exclusive = true});
    if (queue.name() != name) ++mixed_up;
    for (int round = 0; round < rounds; ++round) {
      const std::string body = std::to_string(thread) + "/" + std::to_string(round);
      channel.publish("", name, warren::Message(body));
      if (channel.declare_queue_passive(name).name() != name) ++mixed_up;
      const auto delivery = channel.get(name);
      if (!delivery || delivery->body() != body || delivery->routing_key() != name) {
        ++mixed_up;
        continue;
      }
      delivery->ack();
      ++received;
    }
    if (queue.remove() != 0) ++mixed_up;
  });
  INFO(crowd.first_failure);
  CHECK(crowd.failures == 0);
  CHECK(mixed_up == 0);
  CHECK(received == thread_count * rounds);
  CHECK(channel.is_open());
}

TEST_CASE(
    "sixteen threads share one channel and one provokes a 404: every waiter and every later call gets it") {
  Connection connection{shared_broker().endpoint(), test_options()};
  for (int round = 0; round < 10; ++round) {
    Channel channel = connection.open_channel();
    const std::string queue = channel.declare_queue(unique_name("shared"), {.exclusive = true}).name();
    std::atomic<int> told{0};
    std::atomic<int> told_later{0};
    std::atomic<int> calls{0};
    Crowd crowd;
    crowd.run([&](int thread) {
      const auto ends = [&](auto call) {
        try {
          call();
          return false;
        } catch (const ChannelError& error) {
          if (error.code() != 404 || error.scope() != warren::ErrorScope::channel) throw;
          return true;
        }
      };
      const auto next = [&](int i) {
        switch ((thread + i) % 5) {
          case 0:
            return (void)channel.declare_queue(queue, {.exclusive = true});
          case 1:
            return channel.publish("", queue, warren::Message("m"));
          case 2:
            return (void)channel.get_no_ack(queue);
          case 3:
            return channel.set_prefetch(10);
          default:
            if (const auto delivery = channel.get(queue)) delivery->ack();
        }
      };
      // Thread 0 ends it once the others are busy.
      for (int i = 0;; ++i) {
        if (thread == 0 && calls > 200) {
          if (ends([&] { channel.declare_queue_passive("there-is-none"); })) break;
          throw std::logic_error("a missing queue was found");
        }
        if (ends([&] { next(i); })) break;
        ++calls;
      }
      ++told;
      for (int i = 0; i < 5; ++i) {
        if (ends([&] { next(i); })) ++told_later;
      }
    });
    INFO(crowd.first_failure);
    CHECK(crowd.failures == 0);
    CHECK(told == thread_count);
    CHECK(told_later == thread_count * 5);
    CHECK(connection.is_open());
  }
  CHECK(connection.open_channel().number() == 1);
}

TEST_CASE("sixteen threads open and close channels of one connection: no number is given twice") {
  warren::ConnectionOptions options = test_options();
  options.channel_max = thread_count;
  Connection connection{shared_broker().endpoint(), options};
  std::mutex mutex;
  std::set<std::uint16_t> taken;
  std::atomic<int> doubles{0};
  Crowd crowd;
  crowd.run([&](int thread) {
    for (int i = 0; i < 25; ++i) {
      Channel channel = connection.open_channel();
      {
        const std::lock_guard lock(mutex);
        if (!taken.insert(channel.number()).second) ++doubles;
      }
      const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
      channel.publish("", queue, warren::Message("m"));
      if (!channel.get_no_ack(queue)) throw std::runtime_error("the message is missing");
      const bool by_404 = (thread + i) % 3 == 0;
      {
        const std::lock_guard lock(mutex);
        taken.erase(channel.number());
      }
      if (by_404) {
        (void)thrown<ChannelError>([&] { return channel.get("there-is-none"); });
      } else {
        channel.close();
      }
    }
  });
  INFO(crowd.first_failure);
  CHECK(crowd.failures == 0);
  CHECK(doubles == 0);
  CHECK(connection.open_channel().number() == 1);
}

TEST_CASE("sixteen threads at work on a connection that another one closes all end with ConnectionError") {
  for (int round = 0; round < 5; ++round) {
    Connection connection{shared_broker().endpoint(), test_options()};
    Channel shared = connection.open_channel();
    const std::string queue = shared.declare_queue("", {.exclusive = true}).name();
    warren::Publisher publisher{connection, {.routing_key = queue}};
    std::atomic<int> calls{0};
    std::atomic<int> ended{0};
    Crowd crowd;
    crowd.run([&](int thread) {
      try {
        for (;; ++calls) {
          if (thread == 0 && calls > 300) connection.close();
          switch (thread % 4) {
            case 0:
              connection.open_channel().close();
              break;
            case 1:
              shared.publish("", queue, warren::Message("m"));
              break;
            case 2:
              publisher.publish(warren::Message("m"));
              break;
            default:
              (void)shared.get_no_ack(queue);
          }
        }
      } catch (const warren::ConnectionError&) {
        ++ended;
      }
    });
    INFO(crowd.first_failure);
    CHECK(crowd.failures == 0);
    CHECK(ended == thread_count);
  }
}

TEST_CASE("sixteen threads make and destroy connections of their own") {
  Crowd crowd;
  crowd.run([&](int) {
    for (int i = 0; i < 5; ++i) {
      Connection connection{shared_broker().endpoint(), test_options()};
      Channel channel = connection.open_channel();
      channel.declare_queue("", {.exclusive = true});
    }
  });
  INFO(crowd.first_failure);
  CHECK(crowd.failures == 0);
}
