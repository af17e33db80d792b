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
  Wait wait{};  ///< if empty, wait_by_poll
};

/// A logged-in connection to a broker. Owns the socket.
///
/// One thread at a time may read. Another thread may write, one at a time. With TLS, reads and writes must be
/// on one thread (see direct_writes()).
class Transport {
 public:
  enum class Status { ok, would_block, closed };
  struct Result {
    Status status = Status::ok;
    std::size_t bytes = 0;  ///< if the status is ok: at least 1
  };

  /// Connects and logs in. Blocks at most `options.timeout`, which the host's addresses share.
  /// @throws ConnectionError  permanent if the login, the virtual host or the negotiated values are refused
  /// @throws GivenUp  `options.wait` gave up
  [[nodiscard]] static std::unique_ptr<Transport> connect(const Endpoint& endpoint,
                                                          const LoginOptions& options);

  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// The descriptor to poll; valid during the transport's lifetime.
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] const Negotiated& negotiated() const noexcept;
  /// Reads bytes; never blocks. If it returns fewer bytes than asked for, there are no more now, and a poll
  /// reports the next ones. If it returns as many, read again before the poll: OpenSSL may hold decrypted
  /// bytes, which no poll sees.
  [[nodiscard]] Result read(char* data, std::size_t size) noexcept;
  /// How the peer broke TLS, if a read returned closed for that reason; null for any other end.
  [[nodiscard]] const char* fault() const noexcept;
  /// Writes the chunks in order, or the first part of their bytes. Never blocks, raises no SIGPIPE.
  /// @param chunks  none of them is empty
  [[nodiscard]] Result write(std::span<const std::string_view> chunks) noexcept;
  /// Whether a thread other than the reading one may write.
  [[nodiscard]] bool direct_writes() const noexcept;
  /// Whether to poll for writing too. `output_waits` tells whether there is output to write. TLS may hold
  /// output of its own, or need to read before it can write. After the poll, read, and write the output
  /// again, whatever the poll reported.
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
