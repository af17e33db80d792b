#pragma once

#include <initializer_list>
#include <memory>
#include <stop_token>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// Turns signals into a stop request: `StopOnSignal stop{SIGTERM, SIGINT}; consumer.run(handle,
/// stop.token());`.
///
/// It is safe whatever threads the program has, and whatever signals they block: a thread of its own takes
/// the signals if no other one does, and requests the stop. That thread runs the callbacks of the token, if
/// there are any, so they may do what any code may do.
///
/// The first signal of a kind requests the stop. A second one of that kind, at least one second later, does
/// what it did before the object was made, mostly end the program: so a program that hangs can be ended by
/// the same key. What comes within that second is ignored, since a signal often comes twice: to the process,
/// and to its group.
///
/// Limits:
/// - One object at a time for a signal, in the whole process.
/// - It installs signal handlers (`sigaction`), which replace the program's own until it is destroyed. Do not
///   change the handlers of these signals in the meantime.
/// - After fork() the child's object does nothing: signals do in the child what they did before, and a stop
/// is
///   never requested there. A program that the child executes has the default actions.
/// - A thread that waits for these signals itself (sigwait, signalfd) may take them first.
/// - Calls that a signal interrupts are restarted if the system can restart them (SA_RESTART).
class WARREN_EXPORT StopOnSignal {
 public:
  /// Begins to wait for the signals. Never blocks.
  /// @param signals  numbers as of <csignal>: SIGTERM, SIGINT, SIGHUP, …
  /// @throws InvalidArgument  there is no signal, or one that can't be handled (SIGKILL, SIGSTOP, no signal)
  /// or
  ///                          means a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS)
  /// @throws LogicError       another object waits for one of them, or one is named twice
  /// @throws ConnectionError  the system has no thread or descriptor left
  explicit StopOnSignal(std::initializer_list<int> signals);
  /// Puts back what the signals did before. Waits for a token's callback that runs at the moment, unless it
  /// is called by that callback. Never throws.
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  /// A token that is stopped by the first signal, or by request_stop(). It may outlive this object. Any
  /// thread.
  [[nodiscard]] std::stop_token token() const noexcept;
  /// Requests the stop as a signal would. Runs the token's callbacks. Any thread, but no signal handler.
  void request_stop() noexcept;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace warren::inline v0
