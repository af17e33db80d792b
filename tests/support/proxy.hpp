#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <warren/uri.hpp>

#include "support/frames.hpp"
#include "support/sockets.hpp"

namespace support {

/// A TCP proxy in front of a broker, on a port of its own, that can cut and stall, and records the frames
/// that pass, so that a test can judge their order on the wire. Links are counted from 0, as they come.
///
/// Any thread. What cut() and stall() ask for has been done once they return.
class Proxy {
 public:
  explicit Proxy(warren::Endpoint broker);
  /// Resets what is still connected.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  /// The broker's endpoint by way of this proxy.
  [[nodiscard]] warren::Endpoint endpoint() const;

  enum class End { reset, fin };
  /// Ends all links, or one of them, towards both sides. New ones may come.
  void cut(End end = End::reset, std::optional<std::size_t> link = {});
  /// Ends a link once so many more bytes have passed in a direction: in the middle of a frame, say.
  void cut_after(Direction direction, std::size_t bytes, End end = End::reset);
  /// The same for each link to come, from its first byte on; SIZE_MAX: no more.
  void cut_new_after(Direction direction, std::size_t bytes, End end = End::reset);
  /// Stalls a direction of each link to come once so many bytes have passed; SIZE_MAX: no more.
  void stall_new_after(Direction direction, std::size_t bytes);
  /// Nothing passes any more in a direction of all links, those to come included, or of one of them; nor does
  /// an end. The other side's kernel still takes what it has room for, as with a cable that was pulled.
  void stall(Direction direction, std::optional<std::size_t> link = {});
  /// Both directions: a black hole.
  void stall();
  /// Ends every stall; what was held passes now.
  void resume();
  /// Closes the clients' sides only: the broker still takes them for connected, and hears nothing. Until
  /// resume().
  void strand(End end = End::reset);
  /// Spoils the last byte of the next frame that ends in a direction, on each link: a fault of the protocol,
  /// never a message with another body.
  void garble(Direction direction);
  /// From now on bytes take so long, in both directions; 0: they don't.
  void delay(std::chrono::milliseconds delay);
  /// From now on at most so many bytes a second pass, in each direction of each link; 0: all.
  void throttle(std::size_t bytes_a_second);
  /// Whether those who come are passed on (as at first) or reset.
  void take_new(bool take);

  /// Connections alive.
  [[nodiscard]] std::size_t links() const;
  /// Connections that ever came.
  [[nodiscard]] std::size_t links_seen() const;
  /// All frames so far, in the order in which they reached the proxy.
  [[nodiscard]] std::vector<Frame> frames() const;
  /// How many frames so far fulfil a condition.
  [[nodiscard]] std::size_t count(const std::function<bool(const Frame&)>& condition) const;
  void forget_frames();
  /// Whether frames are kept (as at first): a long test has no room for them.
  void record_frames(bool record);

 private:
  using Clock = std::chrono::steady_clock;
  struct Pipe;
  struct Link;

  void run();
  void take_one();
  bool serve(Link& link);
  void pass(Link& link, Pipe& pipe, Descriptor& from, Descriptor& to, bool stalled);
  void take_in(Pipe& pipe, std::string_view bytes);
  [[nodiscard]] std::size_t due(const Pipe& pipe, Clock::time_point now) const;
  void end(Link& link, End how);
  void act(std::unique_lock<std::mutex> lock);
  void wake() const;

  const warren::Endpoint broker_;
  Descriptor listener_;
  std::uint16_t port_ = 0;
  Descriptor wake_read_;
  Descriptor wake_write_;

  mutable std::mutex mutex_;
  std::condition_variable turned_;
  std::uint64_t turns_ = 0;  // of the thread's loop, so that a caller knows when it was heard
  bool stopping_ = false;
  bool take_new_ = true;
  bool record_ = true;
  // Of links to come.
  std::size_t cut_new_after_[2] = {SIZE_MAX, SIZE_MAX};
  std::size_t stall_new_after_[2] = {SIZE_MAX, SIZE_MAX};
  End cut_new_how_ = End::reset;
  std::chrono::milliseconds delay_{0};
  std::size_t throttle_ = 0;
  bool stalled_[2] = {false, false};
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<Descriptor> stranded_;
  std::size_t seen_ = 0;
  std::vector<Frame> frames_;
  std::thread thread_;
};

}  // namespace support
