#pragma once

#include <initializer_list>
#include <memory>
#include <stop_token>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// Turns signals into a stop request, for example `StopOnSignal stop{SIGTERM, SIGINT}; consumer.run(handle,
/// stop.token());`.
///
/// This works whatever threads the program has, and whatever signals they block. The object has its own
/// thread, which takes the signals if no other thread does, and requests the stop. After a signal, the
/// callbacks of the token run on that thread, so they may call any function.
///
/// The first signal of a kind requests the stop. A second signal of that kind, at least one second later, has
/// the effect that it had before the object was made: usually it ends the program. So a second Ctrl+C can end
/// a program that hangs. Signals within that second are ignored, because the system often sends a signal
/// twice: to the process and to its process group.
///
/// Limits:
/// - Only one object in the process can use a signal at a time.
/// - The object installs signal handlers (`sigaction`), which replace the program's own until the object is
///   destroyed. Do not change the handlers of these signals in the meantime.
/// - In a child process after fork() the object does nothing. There the signals have the effect that they had
///   before the object was made, and a stop is never requested. A program that the child executes has the
///   default actions.
/// - A thread that waits for these signals itself (sigwait, signalfd) may take them first.
/// - System calls that a signal interrupts are restarted if the system can restart them (SA_RESTART).
class WARREN_EXPORT StopOnSignal {
 public:
  /// Installs the signal handlers and starts the thread. Never blocks.
  /// @param signals  numbers from <csignal>: SIGTERM, SIGINT, SIGHUP, …
  /// @throws InvalidArgument  the list is empty, a signal can't be handled (SIGKILL, SIGSTOP, no valid
  ///                          number), or a signal reports a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
  ///                          SIGABRT, SIGSYS)
  /// @throws LogicError       another object already uses one of the signals, or the list names a signal
  ///                          twice
  /// @throws ConnectionError  the system has no thread or file descriptor left
  explicit StopOnSignal(std::initializer_list<int> signals);
  /// Restores the previous effect of the signals. If a callback of the token runs, the destructor waits for
  /// it, unless the callback itself destroys the object. Never throws.
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  /// A token that is stopped by the first signal or by request_stop(). It may outlive this object. Any
  /// thread.
  [[nodiscard]] std::stop_token token() const noexcept;
  /// Requests the stop as a signal does. Calls the callbacks of the token on the calling thread. Any thread,
  /// but not a signal handler.
  void request_stop() noexcept;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace warren::inline v0
