#pragma once

// What the engine needs of the operating system, in one place: POSIX so far.

#include <chrono>
#include <functional>
#include <string>
#include <thread>

namespace warren::inline v0::engine {

/// Wakes a thread that sleeps in wait().
class Wakeup {
 public:
  /// @throws ConnectionError where the process has no descriptor left
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// Readable once woken.
  [[nodiscard]] int descriptor() const noexcept { return read_end_; }
  /// Any thread; never blocks.
  void wake() noexcept;
  /// Forgets that it was woken. Never blocks.
  void clear() noexcept;
  /// Sleeps until `socket` can be read (or written, where asked for), until woken, or for `timeout`: below 0
  /// without end, 0 not at all. Forgets that it was woken.
  void wait(int socket, bool for_writing, std::chrono::milliseconds timeout) noexcept;

 private:
  int read_end_ = -1;
  int write_end_ = -1;
};

/// Starts a thread with all signals blocked, since they are for the application's own threads.
/// @param name  shown by debuggers, at most 15 bytes
/// @throws ConnectionError where the system has no thread left
[[nodiscard]] std::thread start_thread(const char* name, std::function<void()> body);
/// Starts a thread for user code, with the signal mask of the calling thread. A crash in it reaches the
/// program's reporter, and a process that it starts can be ended by a signal.
/// @param name  shown by debuggers, at most 15 bytes
/// @throws ConnectionError if the system has no thread left
[[nodiscard]] std::thread start_user_thread(const char* name, std::function<void()> body);

/// The machine's name, for people to read; "unknown" where it has none.
[[nodiscard]] std::string host_name();

}  // namespace warren::inline v0::engine
