#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <warren/warren.hpp>

#include "support/broker.hpp"

namespace support {

/// A queue of a test's own, seen over a connection of its own, and deleted at the end. One thread.
class TestQueue {
 public:
  explicit TestQueue(const warren::QueueOptions& options = {}, const Broker& broker = shared_broker())
      : connection_(broker.endpoint(), test_options()),
        channel_(connection_.open_channel()),
        name_(channel_.declare_queue(unique_name("test"), options).name()) {}
  ~TestQueue() {
    try {
      connection_.open_channel().declare_queue_passive(name_).remove();
    } catch (const warren::Error&) {  // the test deleted it, or its broker
    }
  }
  TestQueue(const TestQueue&) = delete;
  TestQueue& operator=(const TestQueue&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] warren::Queue queue() { return channel_.declare_queue_passive(name_); }
  [[nodiscard]] std::uint32_t ready() { return queue().message_count(); }
  [[nodiscard]] std::uint32_t consumers() { return queue().consumer_count(); }
  /// Ready, once that count has come; false where it does not.
  bool holds(std::uint32_t count, std::chrono::milliseconds within = 30s) {
    return eventually([&] { return ready() == count; }, within);
  }

  /// Puts messages in whose bodies are "0", "1", …; returns once they are ready.
  void fill(std::uint32_t count) {
    const std::uint32_t before = ready();
    for (std::uint32_t i = 0; i < count; ++i) put(std::to_string(i));
    if (!holds(before + count)) throw std::runtime_error("the queue does not fill");
  }
  void put(std::string body) { channel_.publish("", name_, warren::Message(std::move(body))); }

  /// The next message, off the queue; waits for one to come.
  warren::Delivery take() {
    std::optional<warren::Delivery> got;
    if (!eventually([&] { return (got = channel_.get_no_ack(name_)).has_value(); })) {
      throw std::runtime_error("no message came");
    }
    return std::move(*got);
  }
  /// The bodies of all that are ready, off the queue.
  std::multiset<std::string> take_all() {
    std::multiset<std::string> bodies;
    while (const auto got = channel_.get_no_ack(name_)) bodies.emplace(got->body());
    return bodies;
  }

 private:
  warren::Connection connection_;
  warren::Channel channel_;
  std::string name_;
};

/// What fill(count) puts in.
inline std::multiset<std::string> numbered(std::uint32_t count, std::uint32_t first = 0) {
  std::multiset<std::string> bodies;
  for (std::uint32_t i = first; i < count; ++i) bodies.insert(std::to_string(i));
  return bodies;
}

/// A door that threads wait at until the test opens it.
class Gate {
 public:
  ~Gate() {
    open();
    while (waiting_ != 0) std::this_thread::yield();  // a handler that a drain left behind
  }
  void open() {
    open_ = true;
    open_.notify_all();
  }
  void pass() {
    ++waiting_;
    open_.wait(false);
    --waiting_;
  }
  /// Threads inside pass().
  [[nodiscard]] int waiting() const noexcept { return waiting_; }

 private:
  std::atomic<bool> open_{false};
  std::atomic<int> waiting_{0};
};

/// What most tests of consumers begin with: a queue, and a connection of the test's own.
struct ConnectedQueue {
  TestQueue queue;
  warren::Connection connection{shared_broker().endpoint(), test_options()};
};

}  // namespace support
