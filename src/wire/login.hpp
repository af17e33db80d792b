#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <warren/field_table.hpp>
#include <warren/uri.hpp>

#include "wire/frame.hpp"
#include "wire/method_decoder.hpp"

namespace warren::inline v0::wire {

/// What a client asks for when it logs in.
struct Proposal {
  std::chrono::seconds heartbeat{30};  ///< 0 turns heartbeats off
  std::uint32_t frame_max = 131'072;   ///< bytes; 0: no limit
  std::uint16_t channel_max = 2'047;   ///< 0: no limit
  FieldTable client_properties{};      ///< beside the capabilities, which are always sent
};

/// What was agreed on.
struct Negotiated {
  std::uint32_t frame_max = 0;
  std::uint16_t channel_max = 0;
  std::chrono::seconds heartbeat{0};  ///< 0: off
  bool takes_cancel_ok = false;  ///< the broker awaits an answer to its basic.cancel (from RabbitMQ 4.3.7 on)
};

/// The handshake of AMQP 0-9-1 (section 2.2.4), from the protocol header to connection.open-ok, without a
/// socket: bytes in, bytes out.
///
/// A peer that speaks another protocol, out of turn, or more than `most_bytes`, ends it.
class Login {
 public:
  /// What a peer may say before it is done. RabbitMQ says about one KiB.
  static constexpr std::size_t most_bytes = std::size_t{1} << 20;
  /// Of one frame. Before connection.tune RabbitMQ's have 8 KiB at most.
  static constexpr std::uint32_t most_of_frame = std::uint32_t{128} << 10;

  /// Begins with the protocol header in output().
  Login(const Endpoint& endpoint, const Proposal& proposal, std::string operation);

  /// To be sent; take away what was.
  [[nodiscard]] Bytes& output() noexcept { return output_; }
  /// Takes whole frames off `input`, up to connection.open-ok: what follows that stays.
  /// @throws ConnectionError  the broker refuses, breaks the protocol, or is none; output() may hold a last
  ///                          answer then. Permanent if credentials, virtual host or limits were refused.
  void receive(std::string_view& input);
  [[nodiscard]] bool done() const noexcept { return step_ == Step::done; }
  [[nodiscard]] const Negotiated& negotiated() const noexcept { return negotiated_; }
  /// What the broker says of itself, its capabilities among it.
  [[nodiscard]] const FieldTable& server_properties() const noexcept { return server_properties_; }
  /// What the peer has yet to say, for the text of an error.
  [[nodiscard]] std::string_view awaited() const noexcept;
  /// What is likely wrong if the peer closes the connection now.
  [[nodiscard]] std::string closed_text() const;

 private:
  enum class Step { start, tune, open_ok, done };

  void on_frame(const Frame& frame);
  void on_start(std::string_view arguments);
  void on_tune(std::string_view arguments);
  [[noreturn]] void fail(std::string text, bool permanent = false) const;
  /// What speaks there, if the first bytes show that it is no broker for AMQP 0-9-1.
  void check_protocol(std::string_view input) const;
  /// For what the endpoint's port is usually used, if that is not AMQP; else empty.
  [[nodiscard]] std::string port_hint() const;

  const Endpoint endpoint_;
  const Proposal proposal_;
  const std::string operation_;
  Step step_ = Step::start;
  bool has_begun_ = false;       // the first bytes were looked at
  std::size_t login_bytes_ = 0;  // of connection.start-ok
  std::size_t received_ = 0;
  Bytes output_;
  Negotiated negotiated_;
  FieldTable server_properties_;
  MethodDecoder decoder_;
};

}  // namespace warren::inline v0::wire
