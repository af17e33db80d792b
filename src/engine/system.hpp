#pragma once

// The operating system services that the engine needs, all in one place. POSIX only, so far.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace warren::inline v0::engine {

/// Wakes a thread that sleeps in wait().
class Wakeup {
 public:
  /// @throws ConnectionError if the process has no descriptor left
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// A descriptor that is readable once wake() was called.
  [[nodiscard]] int descriptor() const noexcept { return read_end_; }
  /// Wakes the thread. Any thread; never blocks.
  void wake() noexcept;
  /// Forgets earlier calls of wake(). Never blocks.
  void clear() noexcept;
  /// Sleeps until `socket` is readable (or writable, if asked for), until wake(), or for `timeout`. Below 0
  /// means no limit, 0 means no sleep. Forgets earlier calls of wake().
  /// @returns whether `socket` is ready
  bool wait(int socket, bool for_writing, std::chrono::milliseconds timeout) noexcept;

 private:
  int read_end_ = -1;
  int write_end_ = -1;
};

/// Starts a thread with signals blocked, since they are for the application's own threads. Those that a fault
/// of the thread raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS) are not blocked, and
/// neither is SIGPROF.
/// @param name  shown by debuggers, at most 15 bytes
/// @throws ConnectionError if the system has no thread left
[[nodiscard]] std::thread start_thread(const char* name, std::function<void()> body);
/// Starts a thread for user code, with the signal mask of the calling thread. A crash in it reaches the
/// program's reporter, and a process that it starts can be ended by a signal.
/// @param name  shown by debuggers, at most 15 bytes
/// @throws ConnectionError if the system has no thread left
[[nodiscard]] std::thread start_user_thread(const char* name, std::function<void()> body);

/// The process that made an object. A child of fork() has a copy of the object and shares its socket, but it
/// has none of the threads. A lock that one of them held is never released in the child.
class OwnProcess {
 public:
  OwnProcess() noexcept;
  /// Whether this is another process. Asks the system, so use it in destructors and other rare calls.
  [[nodiscard]] bool is_left() const noexcept;
  /// Whether this is another process, as fork() noted it. Costs one load. It does not notice a child of a raw
  /// clone().
  [[nodiscard]] bool seems_left() const noexcept { return id_ != current_.load(std::memory_order_relaxed); }

 private:
  static inline std::atomic<int> current_{0};
  int id_ = 0;
};

/// Keeps the address, so that a leak checker finds the object. Never throws.
void keep_for_ever(void* object) noexcept;

/// Deletes an object in the process that made it. In a child of fork() the object stays: its destructor would
/// join threads that do not exist, and send connection.close over the parent's socket.
struct DeleteAtHome {
  OwnProcess process{};
  template <typename T>
  void operator()(T* object) const noexcept {
    if (process.is_left()) return keep_for_ever(object);
    delete object;
  }
};

/// Like std::make_shared, for objects that must not be destroyed in a child of fork().
template <typename T, typename... Arguments>
[[nodiscard]] std::shared_ptr<T> make_at_home(Arguments&&... arguments) {
  return std::shared_ptr<T>(new T(std::forward<Arguments>(arguments)...), DeleteAtHome{});
}

/// The machine's name, for people to read; "unknown" if it has none.
[[nodiscard]] std::string host_name();

}  // namespace warren::inline v0::engine
