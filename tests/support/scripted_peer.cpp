#include "support/scripted_peer.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <stdexcept>
#include <tuple>

namespace support {
namespace {

struct Stopped {};

struct ClientGone : std::runtime_error {
  ClientGone() : std::runtime_error("the client has gone") {}
};

}  // namespace

ScriptedPeer::ScriptedPeer(Script script) : script_(std::move(script)) {
  std::tie(listener_, port_) = listen_here();
  std::tie(stop_read_, stop_write_) = make_pipe();
  thread_ = std::thread([this] { run(); });
}

ScriptedPeer::~ScriptedPeer() {
  stop_write_.close();  // the reading end is readable from now on
  thread_.join();
}

warren::Endpoint ScriptedPeer::endpoint() const { return {.host = "127.0.0.1", .port = port_}; }

void ScriptedPeer::wait_for(int descriptor, short events) const {
  pollfd polled[2] = {{descriptor, events, 0}, {stop_read_.get(), POLLIN, 0}};
  while (::poll(polled, 2, -1) < 0 && errno == EINTR) {
  }
  if (polled[1].revents != 0) throw Stopped();
}

void ScriptedPeer::run() {
  try {
    for (;;) {
      wait_for(listener_.get(), POLLIN);
      Link link(*this, accept_from(listener_));
      if (!link.socket_) continue;
      ++connections_;
      try {
        script_(link);
      } catch (const ClientGone&) {  // the test sees to what its client saw
      }
    }
  } catch (const Stopped&) {
  }
}

void ScriptedPeer::Link::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      peer_.wait_for(socket_.get(), POLLOUT);
    } else if (errno != EINTR) {
      throw ClientGone();
    }
  }
}

std::string ScriptedPeer::Link::read_some() {
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) return {buffer, static_cast<std::size_t>(count)};
    if (count < 0 && errno == EAGAIN) {
      peer_.wait_for(socket_.get(), POLLIN);
    } else if (count == 0 || errno != EINTR) {
      throw ClientGone();
    }
  }
}

Frame ScriptedPeer::Link::receive() {
  while (frames_.empty()) reader_.read(read_some(), frames_);
  Frame frame = std::move(frames_.front());
  frames_.erase(frames_.begin());
  return frame;
}

Frame ScriptedPeer::Link::receive(std::uint32_t method) {
  for (;;) {
    Frame frame = receive();
    if (frame.method == method) return frame;
  }
}

void ScriptedPeer::Link::wait_for_end() {
  for (;;) read_some();
}

void ScriptedPeer::Link::shake_hands(const Tune& tune, std::string_view properties) {
  shake_hands_until_open(tune, properties);
  send(method_frame(0, method::connection_open_ok, short_string("")));
}

void ScriptedPeer::Link::shake_hands_until_open(const Tune& tune, std::string_view properties) {
  send(start_frame("PLAIN", properties));
  receive(method::connection_start_ok);
  send(method_frame(0, method::connection_tune,
                    number(tune.channel_max, 2) + number(tune.frame_max, 4) + number(tune.heartbeat, 2)));
  receive(0x000A0028);  // open, behind tune-ok
}

}  // namespace support
