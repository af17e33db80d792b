#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>
#include <warren/uri.hpp>

namespace warren::inline v0::wire {

/// Whether connection.close with this code means that trying the same again can't help.
[[nodiscard]] bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether a channel was closed for a queue that is there, on a node of the cluster that is down.
[[nodiscard]] bool is_node_down(std::uint16_t code, std::string_view text) noexcept;

/// How to log in.
struct LoginOptions {
  std::chrono::milliseconds timeout{30'000};  ///< for connecting and logging in together; at most 24 days
  std::chrono::seconds heartbeat{30};         ///< proposed; 0 turns heartbeats off
  std::uint32_t frame_max = 131'072;          ///< proposed, bytes
  std::uint16_t channel_max = 2'047;          ///< proposed; 0: no limit
  FieldTable client_properties{};             ///< beside the capabilities, which are always sent
};

/// What was agreed on.
struct Negotiated {
  std::uint32_t frame_max = 0;
  std::uint16_t channel_max = 0;
  std::chrono::seconds heartbeat{0};  ///< 0: off
  bool takes_cancel_ok = false;  ///< the broker awaits an answer to its basic.cancel (from RabbitMQ 4.3.7 on)
};

/// A logged-in connection to a broker: bytes in, bytes out. Owns the rabbitmq-c state.
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
  /// @throws ConnectionError  permanent where the login, the virtual host or what was negotiated is refused
  [[nodiscard]] static std::unique_ptr<Transport> connect(const Endpoint& endpoint,
                                                          const LoginOptions& options);

  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// To poll; valid as long as the transport.
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] const Negotiated& negotiated() const noexcept;
  /// Never blocks. Fewer bytes than asked for: there are no more at present, and a poll tells of the next.
  /// As many: more may wait where no poll sees them (with TLS, decrypted already), so read again first.
  [[nodiscard]] Result read(char* data, std::size_t size) noexcept;
  /// Writes them one behind the other, or some of their bytes. Never blocks, raises no SIGPIPE.
  /// @param chunks  none of them empty
  [[nodiscard]] Result write(std::span<const std::string_view> chunks) noexcept;
  /// Whether another thread than the reading one may write.
  [[nodiscard]] bool direct_writes() const noexcept;
  /// Whether to poll for writing, too, given that there is output to offer or not: TLS may hold some of its
  /// own, or have to read ahead of a write. After the poll, read and offer the output again, whatever it
  /// said.
  [[nodiscard]] bool wants_write(bool output_waits) const noexcept;

 private:
  struct State;
  explicit Transport(std::unique_ptr<State> state) noexcept;
  static std::unique_ptr<Transport> connect(const std::string& address, const Endpoint& endpoint,
                                            const LoginOptions& options,
                                            std::chrono::steady_clock::time_point deadline,
                                            const std::string& operation);
  std::unique_ptr<State> state_;
};

}  // namespace warren::inline v0::wire
