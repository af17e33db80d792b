#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <warren/warren.hpp>

#include "faults/ledger.hpp"

namespace faults {

/// Publishers and consumers at work, as an application has them, all in a ledger: three queues, of which one
/// is consumed by one handler at a time, one by four, one by handlers that fail at times (`to_queue`).
class Workload {
 public:
  /// Declares the queues and starts.
  /// @param pause  between two publishes of a thread's: by default an idle machine can't handle them as fast
  Workload(Ledger& ledger, const std::vector<warren::Endpoint>& endpoints, warren::QueueType type,
           std::uint64_t seed, std::chrono::milliseconds pause = std::chrono::milliseconds(1));
  /// Stops what still runs.
  ~Workload();
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  /// Ends publishing; blocks until each publish has its outcome.
  void stop_publishing();
  /// Ends consuming.
  void stop_consuming();

  /// Why consumers ended by themselves, and what else must not happen. Empty where all is well.
  [[nodiscard]] std::vector<std::string> faults() const;
  /// What the connections logged, with the seconds since the start: the latest lines.
  [[nodiscard]] std::string log() const;
  /// Adds a line to it.
  void note(const std::string& text);
  [[nodiscard]] std::uint64_t stale() const;
  [[nodiscard]] std::uint64_t recoveries() const { return recoveries_; }
  /// Whether every connection is open, and every consumer subscribed.
  [[nodiscard]] bool is_well() const;
  [[nodiscard]] std::string describe() const;

 private:
  warren::ConnectionOptions options(const std::string& name);
  warren::Connection& connect(const std::string& name, std::vector<warren::Endpoint> endpoints);
  void consume(warren::Connection& connection, const std::string& queue, warren::ConsumerOptions options,
               unsigned failing_percent);
  void publish(warren::Publisher& publisher, const std::string& queue);
  void publish_async(warren::Publisher& publisher, const std::string& queue);
  bool pause(std::chrono::milliseconds time);
  void fault(const std::string& text);

  Ledger& ledger_;
  const std::uint64_t seed_;
  const std::chrono::milliseconds pause_;
  const Ledger::Clock::time_point start_ = Ledger::Clock::now();
  std::atomic<std::uint64_t> recoveries_{0};
  std::atomic<std::uint64_t> handlers_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<std::string> faults_;
  std::list<std::string> log_;

  std::list<warren::Connection> connections_;
  std::list<warren::Publisher> publishers_;
  std::list<warren::Consumer> consumers_;
  std::vector<std::thread> threads_;
};

}  // namespace faults
