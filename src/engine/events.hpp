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

/// Runs the user's callbacks for log events, state events and other calls on a thread of its own. start()
/// makes that thread, or the first event does. If no log callback is set, warnings and errors are printed to
/// standard error. Any thread.
///
/// If memory runs out, a log line is dropped. States and calls are still delivered, but a state may lose its
/// texts.
class Events {
 public:
  Events(LogLevel level, LogCallback on_log, StateCallback on_state);
  /// Closes with the current time as the deadline.
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  /// Makes the thread if it does not exist yet, so that no later event fails for want of a thread.
  /// @throws ConnectionError if the system has no thread left
  void start();
  /// Whether events of this level are reported; if not, the caller need not make the text.
  [[nodiscard]] bool wants(LogLevel level) const noexcept;
  void log(LogLevel level, std::string text) noexcept;
  /// Logs the text that `make` returns. `make` is called only if the level is reported.
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
  /// Calls `callback` on the events' thread, after the queued events. An exception from it is dropped. A
  /// callback is not dropped when earlier callbacks are slow. False if this object is closed: then `callback`
  /// is not called.
  bool call(std::function<void()> callback) noexcept;
  /// Calls `callback` on the events' thread once `when` has passed, unless this object is closed before. An
  /// exception from it is dropped.
  void call_at(std::chrono::steady_clock::time_point when, std::function<void()> callback);
  /// Whether the calling thread is the events' thread.
  [[nodiscard]] bool is_own_thread() const;

  /// Accepts no more events, and waits until the queued ones are delivered: until the deadline, or 100 ms if
  /// it has passed. After that, no callback starts. A callback that still runs is left to its thread. When
  /// called from a callback, it does not wait.
  void close(std::chrono::steady_clock::time_point deadline) noexcept;

 private:
  struct Shared;
  using Event = std::variant<LogEvent, StateEvent, std::function<void()>>;
  bool push(Event event) noexcept;
  void start_locked();
  std::shared_ptr<Shared> shared_;
};

}  // namespace warren::inline v0::engine
