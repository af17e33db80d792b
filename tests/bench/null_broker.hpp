#pragma once

#include <cstddef>
#include <cstdint>

#include <sys/types.h>

namespace bench {

/// A broker that costs next to nothing: it logs everybody in, answers declarations, drops what is published
/// (with merged confirms where they were asked for), and delivers without end to who consumes. What is
/// measured against it is the client and the kernel.
struct NullBrokerOptions {
  std::size_t size = 256;  ///< of the bodies it delivers, in bytes
  bool echo = false;  ///< delivers one for each message that was published on the same connection, no more
};

/// Prints its port on stdout, and serves until stdin ends.
void serve_null_broker(const NullBrokerOptions& options);

/// serve_null_broker() in a process of its own, which ends with this object, or with this process.
class NullProcess {
 public:
  /// @param program  this very program
  NullProcess(const char* program, const NullBrokerOptions& options);
  ~NullProcess();
  NullProcess(const NullProcess&) = delete;
  NullProcess& operator=(const NullProcess&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

 private:
  pid_t process_ = -1;
  int input_ = -1;  // its stdin
  std::uint16_t port_ = 0;
};

}  // namespace bench
