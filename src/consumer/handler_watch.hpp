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

/// Tells of handlers that run longer than they should: a thread can't be ended from outside. Has a thread of
/// its own from start() on, if there is a limit. Any thread.
class HandlerWatch {
  struct Entry {
    std::chrono::steady_clock::time_point deadline{};
    std::string what{};
    bool told = false;
  };
  using Entries = std::list<Entry>;

 public:
  using Report = std::function<void(const std::string& what)>;

  /// @param report  called on the watch's thread, once for each handler that is late; what it throws is
  /// dropped
  HandlerWatch(std::optional<std::chrono::milliseconds> limit, Report report);
  ~HandlerWatch();
  HandlerWatch(const HandlerWatch&) = delete;
  HandlerWatch& operator=(const HandlerWatch&) = delete;

  /// Makes the thread, unless it is there, or there is no limit. Without it nothing is told.
  /// @throws ConnectionError if the system has no thread left
  void start();

  /// A handler's run, from its construction on.
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

  /// Handlers that were late so far.
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
