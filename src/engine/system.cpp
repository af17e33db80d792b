#include "engine/system.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::engine {
namespace {

[[noreturn]] void exhausted(const char* operation, int error) {
  throw ConnectionError({.operation = operation,
                         .text = std::error_code(error, std::system_category()).message(),
                         .scope = ErrorScope::connection});
}

// A fault of the thread itself raises one of the first seven, and a profiler samples each thread with
// SIGPROF. If a fault's signal is blocked, the kernel ends the process without calling its handler. So no
// thread blocks them.
constexpr int never_blocked[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};

void allow_faults() noexcept {
  sigset_t faults;
  ::sigemptyset(&faults);
  for (const int signal : never_blocked) ::sigaddset(&faults, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
}

// Blocks all signals while a thread starts, since the thread inherits the mask. The signals of never_blocked
// keep their state here, and the new thread allows them: a signal that the caller blocks must not be
// delivered meanwhile.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    for (const int signal : never_blocked) ::sigdelset(&all, signal);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

// A pipe instead of an eventfd: every system has it, and wakes are not on a hot path.
Wakeup::Wakeup() {
  int ends[2];
  // The flags are set at creation: a child that another thread forks in between would inherit the
  // descriptors.
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) exhausted("pipe", errno);
  read_end_ = ends[0];
  write_end_ = ends[1];
}

Wakeup::~Wakeup() {
  ::close(read_end_);
  ::close(write_end_);
}

void Wakeup::wake() noexcept {
  const char byte = 0;
  while (::write(write_end_, &byte, 1) < 0 && errno == EINTR) {
  }  // if the pipe is full, the thread is awake already
}

void Wakeup::clear() noexcept {
  char bytes[64];
  for (;;) {
    const ssize_t count = ::read(read_end_, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < static_cast<ssize_t>(sizeof bytes)) return;
  }
}

bool Wakeup::wait(int socket, bool for_writing, std::chrono::milliseconds timeout) noexcept {
  constexpr std::chrono::milliseconds longest{60'000};
  pollfd descriptors[2] = {{socket, POLLIN, 0}, {read_end_, POLLIN, 0}};
  if (for_writing) descriptors[0].events |= POLLOUT;
  const int milliseconds = static_cast<int>(std::min(timeout, longest).count());
  if (::poll(descriptors, 2, milliseconds) <= 0) return false;
  if ((descriptors[1].revents & POLLIN) != 0) clear();
  return descriptors[0].revents != 0;
}

std::thread start_thread(const char* name, std::function<void()> body) {
  const AllSignalsBlocked inherited;
  return start_user_thread(name, std::move(body));
}

std::thread start_user_thread(const char* name, std::function<void()> body) {
  try {
    return std::thread([name, body = std::move(body)] {
      allow_faults();
      ::pthread_setname_np(::pthread_self(), name);
      body();
    });
  } catch (const std::system_error& failure) {
    exhausted("start a thread", failure.code().value());
  }
}

OwnProcess::OwnProcess() noexcept : id_(::getpid()) {
  // If there is no memory for the handler, is_left() still works.
  static const int noted =
      ::pthread_atfork(nullptr, nullptr, [] { current_.store(::getpid(), std::memory_order_relaxed); });
  (void)noted;
  current_.store(id_, std::memory_order_relaxed);
}

bool OwnProcess::is_left() const noexcept { return id_ != ::getpid(); }

void keep_for_ever(void* object) noexcept {
  struct Kept {
    void* object;
    Kept* next;
  };
  static constinit std::atomic<Kept*> first{nullptr};
  auto* const kept = new (std::nothrow) Kept{object, first.load()};
  if (kept == nullptr) return;
  while (!first.compare_exchange_weak(kept->next, kept)) {
  }
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "unknown";
  return name;
}

}  // namespace warren::inline v0::engine
