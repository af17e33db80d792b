#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include <warren/log.hpp>

namespace warren::inline v0::engine {

/// Carries log and state events, and calls of other callbacks, to the user's code on a thread of their own,
/// which starts with the first one. Does nothing where there is no callback. Any thread.
class Events {
 public:
  Events(LogLevel level, LogCallback on_log, StateCallback on_state);
  /// As close(now).
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  /// Whether anybody listens at this level, so that a text need not be made in vain.
  [[nodiscard]] bool wants(LogLevel level) const noexcept;
  void log(LogLevel level, std::string text);
  void state(StateEvent event);
  /// Calls `callback` on that thread, behind what is queued. What it throws is dropped. A slow callback
  /// before it does not drop it; once this is closed, it is destroyed uncalled.
  void call(std::function<void()> callback);
  /// Whether the calling thread is that thread.
  [[nodiscard]] bool is_own_thread() const;

  /// Takes no more, and waits until what is queued was told: at most until the deadline, or a tenth of a
  /// second where that has passed. Then nothing is told any more; a callback that still runs is left to its
  /// thread. From within a callback it doesn't wait.
  void close(std::chrono::steady_clock::time_point deadline) noexcept;

 private:
  struct Shared;
  using Event = std::variant<LogEvent, StateEvent, std::function<void()>>;
  void push(Event event);
  std::shared_ptr<Shared> shared_;
};

}  // namespace warren::inline v0::engine
