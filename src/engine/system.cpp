#include "engine/system.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

void set_up(int descriptor) {
  ::fcntl(descriptor, F_SETFD, ::fcntl(descriptor, F_GETFD) | FD_CLOEXEC);
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

// A pipe rather than an eventfd: POSIX has it everywhere, and a wake is not on any hot path.
Wakeup::Wakeup() {
  int ends[2];
  if (::pipe(ends) != 0) exhausted("pipe", errno);
  read_end_ = ends[0];
  write_end_ = ends[1];
  set_up(read_end_);
  set_up(write_end_);
}

Wakeup::~Wakeup() {
  ::close(read_end_);
  ::close(write_end_);
}

void Wakeup::wake() noexcept {
  const char byte = 0;
  while (::write(write_end_, &byte, 1) < 0 && errno == EINTR) {
  }  // a full pipe is awake already
}

void Wakeup::clear() noexcept {
  char bytes[64];
  for (;;) {
    const ssize_t count = ::read(read_end_, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < static_cast<ssize_t>(sizeof bytes)) return;
  }
}

void Wakeup::wait(int socket, bool for_writing, std::chrono::milliseconds timeout) noexcept {
  constexpr std::chrono::milliseconds longest{60'000};
  pollfd descriptors[2] = {{socket, POLLIN, 0}, {read_end_, POLLIN, 0}};
  if (for_writing) descriptors[0].events |= POLLOUT;
  const int milliseconds = static_cast<int>(std::min(timeout, longest).count());
  if (::poll(descriptors, 2, milliseconds) > 0 && (descriptors[1].revents & POLLIN) != 0) clear();
}

std::thread start_thread(const char* name, std::function<void()> body) {
  const AllSignalsBlocked inherited;
  return start_user_thread(name, std::move(body));
}

std::thread start_user_thread(const char* name, std::function<void()> body) {
  try {
    return std::thread([name, body = std::move(body)] {
      ::pthread_setname_np(::pthread_self(), name);
      body();
    });
  } catch (const std::system_error& failure) {
    exhausted("start a thread", failure.code().value());
  }
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "unknown";
  return name;
}

}  // namespace warren::inline v0::engine
