#pragma once

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace warren::inline v0::wire {

/// How a wait for a descriptor ended.
enum class Waited { ready, timed_out, given_up };

/// Sleeps until a descriptor can be read (or written), until the deadline, or until nobody wants the answer
/// any more. `given_up` ends connecting at once.
using Wait = std::function<Waited(int descriptor, bool for_writing, std::chrono::steady_clock::time_point)>;

/// Waits with poll(), and never gives up before the deadline.
[[nodiscard]] Waited wait_by_poll(int descriptor, bool for_writing,
                                  std::chrono::steady_clock::time_point deadline) noexcept;

/// Thrown by connecting if its Wait gave up.
struct GivenUp {};

/// Where to connect to.
struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  std::string text{};  ///< numeric, for people to read
};

/// Owns the descriptor of a TCP socket that never blocks. Closes it in the end.
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
  /// @throws ConnectionError  never permanent
  /// @throws GivenUp
  [[nodiscard]] static Socket connect(const Address& address, std::chrono::steady_clock::time_point deadline,
                                      const Wait& wait, const std::string& operation);

 private:
  int descriptor_ = -1;
};

/// Blocks until `descriptor` is ready.
/// @param doing  what is not done in time, for the error's text
/// @throws ConnectionError  the deadline has passed; never permanent
/// @throws GivenUp
void await(const Wait& wait, int descriptor, bool for_writing, std::chrono::steady_clock::time_point deadline,
           const std::string& operation, std::string_view doing);

}  // namespace warren::inline v0::wire
