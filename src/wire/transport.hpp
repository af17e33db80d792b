#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <warren/uri.hpp>

#include "wire/login.hpp"
#include "wire/socket.hpp"
#include "wire/status.hpp"

namespace warren::inline v0::wire {

/// How to connect and log in.
struct LoginOptions {
  std::chrono::milliseconds timeout{30'000};  ///< for connecting and logging in together; at most 24 days
  Proposal proposal{};
  Wait wait{};  ///< empty: wait_by_poll
};

/// A logged-in connection to a broker: bytes in, bytes out. Owns the socket.
///
/// One thread at a time reads. Writes may come from another one, but one at a time; with TLS reads and writes
/// are one thread's (see direct_writes()).
class Transport {
 public:
  enum class Status { ok, would_block, closed };
  struct Result {
    Status status = Status::ok;
    std::size_t bytes = 0;  ///< with ok: at least 1
  };

  /// Connects and logs in. Blocks at most `options.timeout`, shared out among the host's addresses.
  /// @throws ConnectionError  permanent if the login, the virtual host or what was negotiated is refused
  /// @throws GivenUp
  [[nodiscard]] static std::unique_ptr<Transport> connect(const Endpoint& endpoint,
                                                          const LoginOptions& options);

  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// To poll; valid as long as the transport.
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] const Negotiated& negotiated() const noexcept;
  /// Never blocks. Fewer bytes than asked for: there are no more at present, and a poll tells of the next.
  /// As many: OpenSSL may hold more that is decrypted already, which no poll sees. So read again first.
  [[nodiscard]] Result read(char* data, std::size_t size) noexcept;
  /// How the peer broke TLS, once a read said closed for that; null for any other end.
  [[nodiscard]] const char* fault() const noexcept;
  /// Writes them one behind the other, or some of their bytes. Never blocks, raises no SIGPIPE.
  /// @param chunks  none of them empty
  [[nodiscard]] Result write(std::span<const std::string_view> chunks) noexcept;
  /// Whether another thread than the reading one may write.
  [[nodiscard]] bool direct_writes() const noexcept;
  /// Whether to poll for writing, too, given that there is output to offer or not: TLS may hold some of its
  /// own, or have to read before a write. After the poll, read and offer the output again, whatever it
  /// said.
  [[nodiscard]] bool wants_write(bool output_waits) const noexcept;

 private:
  struct State;
  explicit Transport(std::unique_ptr<State> state) noexcept;
  static std::unique_ptr<Transport> connect(const Address& address, const Endpoint& endpoint,
                                            const LoginOptions& options,
                                            std::chrono::steady_clock::time_point deadline,
                                            const std::string& operation);
  void log_in(Login& login, std::chrono::steady_clock::time_point deadline, const Wait& wait,
              const std::string& operation);
  bool send(Bytes& output) noexcept;
  [[nodiscard]] Result read_socket(char* data, std::size_t size) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace warren::inline v0::wire
