#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace support {

/// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) noexcept : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      value_ = std::exchange(other.value_, -1);
    }
    return *this;
  }

  [[nodiscard]] int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }
  void close() noexcept;
  /// Closes it so that the peer sees a reset (RST) rather than an end (FIN).
  void reset() noexcept;

 private:
  int value_ = -1;
};

/// Listens on 127.0.0.1, at a port that the system chooses, without blocking.
std::pair<Descriptor, std::uint16_t> listen_here();
/// The next connection of a listening socket, without blocking; empty where there is none.
Descriptor accept_from(const Descriptor& listener);
/// Connects to an IPv4 address; empty where nobody listens. Not blocking once connected.
Descriptor connect_to(const std::string& address, std::uint16_t port);
/// Both ends of a pipe, without blocking: reading, writing.
std::pair<Descriptor, Descriptor> make_pipe();

}  // namespace support
