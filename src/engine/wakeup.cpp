#include "engine/wakeup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <warren/error.hpp>

namespace warren::inline v0::engine {
namespace {

void set_up(int descriptor) {
  ::fcntl(descriptor, F_SETFD, ::fcntl(descriptor, F_GETFD) | FD_CLOEXEC);
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

}  // namespace

// A pipe rather than an eventfd: POSIX has it everywhere, and a wake is not on any hot path.
Wakeup::Wakeup() {
  int ends[2];
  if (::pipe(ends) != 0) {
    throw ConnectionError({.operation = "pipe",
                           .text = std::error_code(errno, std::system_category()).message(),
                           .scope = ErrorScope::connection});
  }
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

}  // namespace warren::inline v0::engine
