#pragma once

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace warren::inline v0::wire {

/// How a wait for a descriptor ended.
enum class Waited { ready, timed_out, given_up };

/// Blocks until a descriptor is readable (or writable), until the deadline, or until the result is no longer
/// needed. In the last case it returns `given_up`, which ends connecting at once.
using Wait = std::function<Waited(int descriptor, bool for_writing, std::chrono::steady_clock::time_point)>;

/// Waits with poll(), and never gives up before the deadline.
[[nodiscard]] Waited wait_by_poll(int descriptor, bool for_writing,
                                  std::chrono::steady_clock::time_point deadline) noexcept;

/// Thrown by connect functions if their Wait gave up.
struct GivenUp {};

/// A network address to connect to.
struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  std::string text{};  ///< in numeric form, for people to read
};

/// Owns the descriptor of a non-blocking TCP socket, and closes it in the destructor.
class Socket {
 public:
  Socket() noexcept = default;
  explicit Socket(int descriptor) noexcept : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

  /// Connects. Blocks until `deadline` at most.
  /// @throws ConnectionError  always transient
  /// @throws GivenUp  `wait` gave up
  [[nodiscard]] static Socket connect(const Address& address, std::chrono::steady_clock::time_point deadline,
                                      const Wait& wait, const std::string& operation);

 private:
  int descriptor_ = -1;
};

/// Blocks until `descriptor` is ready.
/// @param doing  the step that is waited for, for the error's text
/// @throws ConnectionError  the deadline has passed; always transient
/// @throws GivenUp  `wait` gave up
void await(const Wait& wait, int descriptor, bool for_writing, std::chrono::steady_clock::time_point deadline,
           const std::string& operation, std::string_view doing);

}  // namespace warren::inline v0::wire
