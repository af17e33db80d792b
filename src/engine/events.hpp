#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <warren/connection_state.hpp>
#include <warren/log.hpp>

namespace warren::inline v0::engine {

/// Carries log and state events, and calls of other callbacks, to the user's code on a thread of their own,
/// which start() makes, or the first event. Without a callback for log events, it prints warnings and errors
/// to standard error. Any thread.
///
/// Without memory a log line is dropped; a state and a call are not, but for the texts of a state.
class Events {
 public:
  Events(LogLevel level, LogCallback on_log, StateCallback on_state);
  /// As close(now).
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  /// Makes the thread, unless it is there, so that no event needs one that the system no longer has.
  /// @throws ConnectionError if the system has no thread left
  void start();
  /// Whether anybody listens at this level, so that a text need not be made in vain.
  [[nodiscard]] bool wants(LogLevel level) const noexcept;
  void log(LogLevel level, std::string text) noexcept;
  /// The same with a text that is made only if anybody listens.
  template <std::invocable Make>
  void log(LogLevel level, Make&& make) noexcept {
    if (!wants(level)) return;
    try {
      log(level, std::string(std::forward<Make>(make)()));
    } catch (...) {  // no memory for a line
    }
  }
  void state(ConnectionState state, const std::optional<std::string>& blocked = {},
             const ErrorDetails* error = nullptr, std::vector<NotRecovered> not_recovered = {}) noexcept;
  /// Calls `callback` on that thread, behind what is queued. What it throws is dropped. A slow callback
  /// before it does not drop it. False if this is closed already: then it is not called.
  bool call(std::function<void()> callback) noexcept;
  /// Calls `callback` on that thread once `when` is past, unless this is closed before. What it throws is
  /// dropped.
  void call_at(std::chrono::steady_clock::time_point when, std::function<void()> callback);
  /// Whether the calling thread is that thread.
  [[nodiscard]] bool is_own_thread() const;

  /// Takes no more, and waits until what is queued was told: at most until the deadline, or a tenth of a
  /// second if that has passed. Then nothing is told any more; a callback that still runs is left to its
  /// thread. From within a callback it doesn't wait.
  void close(std::chrono::steady_clock::time_point deadline) noexcept;

 private:
  struct Shared;
  using Event = std::variant<LogEvent, StateEvent, std::function<void()>>;
  bool push(Event event) noexcept;
  void start_locked();
  std::shared_ptr<Shared> shared_;
};

}  // namespace warren::inline v0::engine
