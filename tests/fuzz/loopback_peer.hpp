#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>

#include "support/sockets.hpp"

namespace fuzz {

/// A peer of the client's, on a thread behind a listening socket: it serves one connection after the other.
class LoopbackPeer {
 public:
  LoopbackPeer(const LoopbackPeer&) = delete;
  LoopbackPeer& operator=(const LoopbackPeer&) = delete;

 protected:
  struct LinkGone {};  ///< thrown by a served connection that is over

  explicit LoopbackPeer(const support::Descriptor& listener) : listener_(listener) {
    std::tie(stop_read_, stop_write_) = support::make_pipe();
  }
  ~LoopbackPeer() = default;

  /// Calls `serve` for each connection, which ends with LinkGone. At the end of the derived constructor.
  void start(std::function<void()> serve) {
    thread_ = std::thread([this, serve = std::move(serve)] { run(serve); });
  }
  /// In the derived destructor: `serve` uses what is derived.
  void stop() {
    stop_write_.close();  // the reading end is readable from now on
    thread_.join();
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(link_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(count));
      } else if (errno == EAGAIN) {
        wait_for(link_.get(), POLLOUT);
      } else if (errno != EINTR) {
        throw LinkGone();
      }
    }
  }
  /// Waits for bytes; at least one.
  [[nodiscard]] std::string_view receive(std::span<char> buffer) {
    for (;;) {
      const ssize_t count = ::recv(link_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (count > 0) return {buffer.data(), static_cast<std::size_t>(count)};
      if (count < 0 && errno == EAGAIN) {
        wait_for(link_.get(), POLLIN);
      } else if (count == 0 || errno != EINTR) {
        throw LinkGone();
      }
    }
  }
  [[nodiscard]] int link() const noexcept { return link_.get(); }

 private:
  struct Ended {};  // the run is over

  void run(const std::function<void()>& serve) {
    try {
      for (;;) {
        wait_for(listener_.get(), POLLIN);
        link_ = support::accept_from(listener_);
        if (!link_) continue;
        try {
          serve();
        } catch (const LinkGone&) {
        }
        link_.reset();  // no port stays in TIME_WAIT
      }
    } catch (const Ended&) {
      link_.reset();
    }
  }

  void wait_for(int descriptor, short events) const {
    pollfd polled[2] = {{descriptor, events, 0}, {stop_read_.get(), POLLIN, 0}};
    while (::poll(polled, 2, -1) < 0 && errno == EINTR) {
    }
    if (polled[1].revents != 0) throw Ended();
  }

  const support::Descriptor& listener_;
  support::Descriptor stop_read_;
  support::Descriptor stop_write_;
  support::Descriptor link_;
  std::thread thread_;
};

}  // namespace fuzz
