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

/// The values that a client proposes when it logs in.
struct Proposal {
  std::chrono::seconds heartbeat{30};  ///< 0 turns heartbeats off
  std::uint32_t frame_max = 131'072;   ///< bytes; 0: no limit
  std::uint16_t channel_max = 2'047;   ///< 0: no limit
  FieldTable client_properties{};      ///< sent in addition to the capabilities
};

/// The values that client and broker agreed on.
struct Negotiated {
  std::uint32_t frame_max = 0;
  std::uint16_t channel_max = 0;
  std::chrono::seconds heartbeat{0};  ///< 0: off
  bool takes_cancel_ok = false;  ///< the broker expects an answer to its basic.cancel (since RabbitMQ 4.3.7)
};

/// The handshake of AMQP 0-9-1 (section 2.2.4), from the protocol header to connection.open-ok. It uses no
/// socket: bytes in, bytes out.
///
/// The handshake fails if the peer speaks another protocol, sends a method out of turn, or sends more than
/// `most_bytes`.
class Login {
 public:
  /// The most bytes that the peer may send before the handshake is done. RabbitMQ sends about 1 KiB.
  static constexpr std::size_t most_bytes = std::size_t{1} << 20;
  /// The largest frame that the peer may send. Before connection.tune, RabbitMQ's frames have 8 KiB at most.
  static constexpr std::uint32_t most_of_frame = std::uint32_t{128} << 10;

  /// Puts the protocol header into output().
  Login(const Endpoint& endpoint, const Proposal& proposal, std::string operation);

  /// The bytes to send. The caller removes the bytes that it has sent.
  [[nodiscard]] Bytes& output() noexcept { return output_; }
  /// Removes whole frames from `input`, up to connection.open-ok. Later frames stay in `input`.
  /// @throws ConnectionError  the broker refuses the login, breaks the protocol, or is not an AMQP broker;
  /// output() may then hold a last answer. Permanent if credentials, virtual host or limits were refused.
  void receive(std::string_view& input);
  [[nodiscard]] bool done() const noexcept { return step_ == Step::done; }
  [[nodiscard]] const Negotiated& negotiated() const noexcept { return negotiated_; }
  /// The broker's own properties, including its capabilities.
  [[nodiscard]] const FieldTable& server_properties() const noexcept { return server_properties_; }
  /// The method that the peer must send next, for the text of an error.
  [[nodiscard]] std::string_view awaited() const noexcept;
  /// The likely cause if the peer closes the connection now, for the text of an error.
  [[nodiscard]] std::string closed_text() const;

 private:
  enum class Step { start, tune, open_ok, done };

  void on_frame(const Frame& frame);
  void on_start(std::string_view arguments);
  void on_tune(std::string_view arguments);
  [[noreturn]] void fail(std::string text, bool permanent = false) const;
  /// Throws an error that names the protocol if the first bytes show that the peer is not a broker for AMQP
  /// 0-9-1.
  void check_protocol(std::string_view input) const;
  /// The usual purpose of the endpoint's port, if that is not AMQP; else empty.
  [[nodiscard]] std::string port_hint() const;

  const Endpoint endpoint_;
  const Proposal proposal_;
  const std::string operation_;
  Step step_ = Step::start;
  bool has_begun_ = false;       // the first bytes were looked at
  std::size_t login_bytes_ = 0;  // size of connection.start-ok
  std::size_t received_ = 0;
  Bytes output_;
  Negotiated negotiated_;
  FieldTable server_properties_;
  MethodDecoder decoder_;
};

}  // namespace warren::inline v0::wire
