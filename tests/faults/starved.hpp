#pragma once

// What the modes of starved_child.cpp have in common.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <warren/warren.hpp>

#include "faults/starvation.hpp"

namespace starved {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

// The modes: what main() returns. What is wrong is thrown.
int threads(const Words& words);
int descriptors(const Words& words);
int address_space(const Words& words);
int clock_jumps(const Words& words);
int suspended(const Words& words);
int inherited(const Words& words);

struct Wrong {
  std::string text;
};

inline void must(bool holds, const std::string& what) {
  if (!holds) throw Wrong{what};
}

template <typename Condition>
bool eventually(Condition&& holds, std::chrono::milliseconds within = 30s) {
  for (const auto deadline = Clock::now() + within; Clock::now() < deadline; std::this_thread::sleep_for(2ms))
    if (holds()) return true;
  return holds();
}

inline warren::Endpoint broker() { return warren::Uri::parse(std::getenv("AMQP_URL")).endpoint; }

// Ends the sockets to the broker's port, as a lost link does.
inline void cut() {
  for (int descriptor = 3; descriptor < 256; ++descriptor) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    const auto port = peer.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(peer).sin_port
                                                : reinterpret_cast<sockaddr_in6&>(peer).sin6_port;
    if (ntohs(port) == broker().effective_port()) ::shutdown(descriptor, SHUT_RDWR);
  }
}

// What the program knows of each message: thread-safe.
class Ids {
 public:
  void add(int id) {
    const starvation::Spared spared;
    const std::lock_guard lock(mutex_);
    ids_.insert(id);
  }
  [[nodiscard]] std::set<int> all() const {
    const std::lock_guard lock(mutex_);
    return ids_;
  }
  [[nodiscard]] bool covers(const Ids& others) const {
    const std::set<int> mine = all();
    for (const int each : others.all()) {
      if (!mine.contains(each)) return false;
    }
    return true;
  }
  [[nodiscard]] std::size_t size() const { return all().size(); }

 private:
  mutable std::mutex mutex_;
  std::set<int> ids_;
};

inline int id_of(const warren::Delivery& delivery) { return std::atoi(std::string(delivery.body()).c_str()); }

inline warren::ConnectionOptions options() {
  return {.connect_timeout = 10s,
          .operation_timeout = 10s,
          .close_timeout = 5s,
          .log_level = warren::LogLevel::debug,
          .on_log =
              [](const warren::LogEvent& event) {
                if (std::getenv("WARREN_STARVED_LOG") == nullptr) return;
                const starvation::Spared spared;
                std::fprintf(stderr, "%s: %s\n", to_string(event.level), event.text.c_str());
              },
          .on_state = [](const warren::StateEvent&) {},
          .recovery = {.initial_delay = 10ms}};
}

// A call of the library that may fail for want of what was taken away. What it failed with, or nothing.
inline std::optional<std::string> attempt(const std::function<void()>& call) {
  try {
    const starvation::Call starved;
    call();
    return std::nullopt;
  } catch (const warren::Error& error) {
    return error.what();
  } catch (const std::bad_alloc&) {
    return "bad_alloc";
  }
}

// A queue of this process's own, and those that a retry policy and a crash guard of its consumer have.
struct Queues {
  std::string name = "starved-" + std::to_string(::getpid());
  std::vector<std::string> all() const { return {name, name + "_parked", name + "_suspect"}; }

  Queues() {
    warren::Connection connection(broker());
    connection.open_channel().declare_queue(name, {.expires = 10min});
  }
  ~Queues() {
    try {
      warren::Connection connection(broker());
      for (const std::string& each : all()) {
        warren::Channel channel = connection.open_channel();
        channel.declare_queue(each, {.expires = each == name ? std::optional(10min) : std::nullopt}).remove();
      }
    } catch (const warren::Error&) {  // one was not declared, or otherwise
    }
  }
  Queues(const Queues&) = delete;
  Queues& operator=(const Queues&) = delete;

  // What is in them now that everybody else has left.
  void collect(Ids& found) const {
    warren::Connection connection(broker());
    for (const std::string& each : all()) {
      try {
        warren::Channel channel = connection.open_channel();
        while (const auto message = channel.get(each)) found.add(id_of(*message));
      } catch (const warren::ChannelError&) {  // not declared
      }
    }
  }
};

// The consumer of a scenario, whose handler fails for each tenth message of those that are asked for.
struct Worker {
  Ids handled;
  std::atomic<bool> told{false};
  std::optional<warren::Consumer> consumer;
  std::optional<std::string> failed;  // to start, or later
  bool started = false;

  void start(warren::Connection& connection, const std::string& queue, bool with_failures) {
    failed = attempt([&] {
      warren::ConsumerOptions wanted{
          .prefetch = 16, .concurrency = 2, .handler_timeout = 20s, .on_end = [this](std::exception_ptr) {
            told = true;
          }};
      if (with_failures) {
        wanted.retry = warren::RetryPolicy::immediate({.max_attempts = 1});
        wanted.crash_guard.emplace();
      }
      consumer.emplace(connection, queue, std::move(wanted));
      consumer->start([this, with_failures](const warren::Delivery& delivery) {
        const starvation::Spared spared;
        const int id = id_of(delivery);
        if (with_failures && id % 10 == 0) throw std::runtime_error("the tenth");
        handled.add(id);
      });
    });
    started = !failed;
  }
  [[nodiscard]] bool has_ended() {
    if (failed || !consumer) return true;
    try {
      if (consumer->wait_for(1ms)) failed = "without an error";
    } catch (const std::exception& error) {
      failed = error.what();
    }
    return failed.has_value();
  }
};

inline int finish(warren::Connection& connection, Worker& worker, const Queues& queues, const Ids& confirmed,
                  bool with_failures) {
  // Before it is given back: a recovery that needs a second try takes it now.
  must(eventually([&] { return connection.is_open(); }), "the connection did not recover");
  const long left = starvation::allocations_left();
  starvation::end();
  Ids found;
  const auto is_done = [&] {
    if (worker.has_ended()) return true;
    if (!with_failures) return worker.handled.covers(confirmed);
    const auto status = worker.consumer->status();
    return worker.handled.size() + status.parked >= confirmed.size();
  };
  const bool done = eventually(is_done);
  must(connection.is_open(), "the connection was lost for good");
  if (worker.consumer) {
    try {
      worker.consumer->stop();
    } catch (const warren::TimeoutError& error) {
      throw Wrong{std::string("a handler hangs: ") + error.what()};
    }
    // on_end is told of an end that was not asked for.
    if (worker.failed && worker.started)
      must(eventually([&] { return worker.told.load(); }), "on_end was not told");
    worker.consumer.reset();
  }
  connection.close();
  for (const int each : worker.handled.all()) found.add(each);
  queues.collect(found);
  for (const int each : confirmed.all()) must(found.all().contains(each), "lost: " + std::to_string(each));
  must(done, "the consumer neither goes on nor ends");
  if (worker.failed) std::printf("the consumer ended: %s\n", worker.failed->c_str());
  return left > 0 ? 3 : 0;
}

}  // namespace starved
