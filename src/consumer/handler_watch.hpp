#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace warren::inline v0::consumer {

/// Reports handlers that run longer than a limit, because a thread can't be ended from outside.
///
/// If there is a limit, start() creates a thread for the watch. Thread-safe.
class HandlerWatch {
  struct Entry {
    std::chrono::steady_clock::time_point deadline{};
    std::string what{};
    bool told = false;
  };
  using Entries = std::list<Entry>;

 public:
  using Report = std::function<void(const std::string& what)>;

  /// @param limit   how long a handler may run; not set means no limit
  /// @param report  called on the watch's thread, once for each late handler; an exception that it throws is
  ///                dropped
  HandlerWatch(std::optional<std::chrono::milliseconds> limit, Report report);
  ~HandlerWatch();
  HandlerWatch(const HandlerWatch&) = delete;
  HandlerWatch& operator=(const HandlerWatch&) = delete;

  /// Creates the watch's thread, unless it exists or there is no limit. Without the thread nothing is
  /// reported.
  /// @throws ConnectionError if the system has no thread left
  void start();

  /// One handler run, which lasts as long as this object.
  class Run {
   public:
    Run(HandlerWatch& watch, const std::string& what);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    [[nodiscard]] bool is_late() const noexcept;

   private:
    HandlerWatch& watch_;
    Entries::iterator entry_;
  };

  /// The number of handler runs that were late so far.
  [[nodiscard]] std::uint64_t late() const;

 private:
  void watch() noexcept;
  void tell(const std::string& what) const noexcept;

  const std::optional<std::chrono::milliseconds> limit_;
  const Report report_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Entries running_;  // in the order of their deadlines
  std::uint64_t late_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace warren::inline v0::consumer
