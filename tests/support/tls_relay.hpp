#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include <warren/uri.hpp>

#include "support/certificates.hpp"
#include "support/sockets.hpp"

namespace support {

/// Takes TLS 1.3 connections on 127.0.0.1, one at a time, and passes what they carry to a broker without TLS
/// and back: for what no broker's TLS does on demand.
class TlsRelay {
 public:
  TlsRelay(const Certificate& certificate, warren::Endpoint broker);
  ~TlsRelay();
  TlsRelay(const TlsRelay&) = delete;
  TlsRelay& operator=(const TlsRelay&) = delete;

  /// With TLS, and certificates()' authority as the trusted one.
  [[nodiscard]] warren::Endpoint endpoint() const;
  /// From now on, after each so many bytes to the client: new keys, and the client is asked for new ones of
  /// its own.
  void change_keys_every(std::size_t bytes) { interval_ = bytes; }
  /// From now on: asks the client for new keys without end, and reads nothing any more.
  void flood_keys() { flood_keys_ = true; }
  /// How often the client changed its keys.
  [[nodiscard]] int keys_changed_by_client() const { return keys_changed_; }
  /// Sends a heartbeat, and TLS's close_notify in the same segment: a client that reads ahead has both at
  /// once, and no poll shows the second. The TCP connection stays.
  void say_close() { say_close_ = true; }

 private:
  struct Free {
    void operator()(void* context) const noexcept;
  };

  void run();
  void relay(const Descriptor& client, void* ssl);

  const warren::Endpoint broker_;
  std::unique_ptr<void, Free> context_;
  Descriptor listener_;
  std::uint16_t port_ = 0;
  std::atomic<std::size_t> interval_{0};
  std::atomic<int> keys_changed_{0};
  std::atomic<bool> say_close_{false};
  std::atomic<bool> flood_keys_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace support
