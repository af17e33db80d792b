#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include <warren/uri.hpp>

#include "support/frames.hpp"
#include "support/sockets.hpp"

namespace support {

/// What a broker proposes in connection.tune.
struct Tune {
  std::uint16_t channel_max = 2'047;
  std::uint32_t frame_max = 131'072;
  std::uint16_t heartbeat = 0;
};

/// A listening peer that plays a script to each connection that comes, one after the other, for what no
/// broker does. The connection is closed at the script's end.
class ScriptedPeer {
 public:
  /// One connection, in the script's hands. Each call ends when the peer is destroyed, by throwing.
  class Link {
   public:
    void send(std::string_view bytes);
    /// Waits for the next frame; the protocol header is skipped. Throws where the client has gone.
    Frame receive();
    /// Waits for the next frame of a method; drops what comes before it.
    Frame receive(std::uint32_t method);
    /// Reads, and drops, until the client goes.
    void wait_for_end();
    /// start, tune, open: as a broker would.
    /// @param properties  the server's, the entries of an encoded table
    void shake_hands(const Tune& tune = {}, std::string_view properties = {});
    /// The same without the last word: connection.open is received, and not answered.
    void shake_hands_until_open(const Tune& tune = {}, std::string_view properties = {});
    /// Closes with a reset, not an end.
    void reset() { socket_.reset(); }

   private:
    friend class ScriptedPeer;
    Link(const ScriptedPeer& peer, Descriptor socket) : peer_(peer), socket_(std::move(socket)) {}
    std::string read_some();

    const ScriptedPeer& peer_;
    Descriptor socket_;
    FrameReader reader_{Direction::to_broker, 0};
    std::vector<Frame> frames_;
  };
  using Script = std::function<void(Link&)>;

  explicit ScriptedPeer(Script script);
  ~ScriptedPeer();
  ScriptedPeer(const ScriptedPeer&) = delete;
  ScriptedPeer& operator=(const ScriptedPeer&) = delete;

  [[nodiscard]] warren::Endpoint endpoint() const;
  /// Connections that came.
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void run();
  void wait_for(int descriptor, short events) const;

  const Script script_;
  Descriptor listener_;
  std::uint16_t port_ = 0;
  Descriptor stop_read_;
  Descriptor stop_write_;
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace support
