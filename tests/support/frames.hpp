#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace support {

/// Methods that tests look for: class in the upper half, method in the lower one.
namespace method {
inline constexpr std::uint32_t connection_start = 0x000A000A;
inline constexpr std::uint32_t connection_start_ok = 0x000A000B;
inline constexpr std::uint32_t connection_tune = 0x000A001E;
inline constexpr std::uint32_t connection_open_ok = 0x000A0029;
inline constexpr std::uint32_t connection_close = 0x000A0032;
inline constexpr std::uint32_t connection_close_ok = 0x000A0033;
inline constexpr std::uint32_t connection_blocked = 0x000A003C;
inline constexpr std::uint32_t channel_open = 0x0014000A;
inline constexpr std::uint32_t channel_close = 0x00140028;
inline constexpr std::uint32_t channel_close_ok = 0x00140029;
inline constexpr std::uint32_t channel_open_ok = 0x0014000B;
inline constexpr std::uint32_t queue_declare = 0x0032000A;
inline constexpr std::uint32_t queue_declare_ok = 0x0032000B;
inline constexpr std::uint32_t queue_bind = 0x00320014;
inline constexpr std::uint32_t basic_qos = 0x003C000A;
inline constexpr std::uint32_t basic_qos_ok = 0x003C000B;
inline constexpr std::uint32_t basic_consume = 0x003C0014;
inline constexpr std::uint32_t basic_consume_ok = 0x003C0015;
inline constexpr std::uint32_t basic_cancel = 0x003C001E;
inline constexpr std::uint32_t basic_cancel_ok = 0x003C001F;
inline constexpr std::uint32_t basic_publish = 0x003C0028;
inline constexpr std::uint32_t basic_return = 0x003C0032;
inline constexpr std::uint32_t basic_deliver = 0x003C003C;
inline constexpr std::uint32_t basic_get = 0x003C0046;
inline constexpr std::uint32_t basic_get_ok = 0x003C0047;
inline constexpr std::uint32_t basic_ack = 0x003C0050;
inline constexpr std::uint32_t basic_reject = 0x003C005A;
inline constexpr std::uint32_t basic_nack = 0x003C0078;
inline constexpr std::uint32_t confirm_select = 0x0055000A;
inline constexpr std::uint32_t confirm_select_ok = 0x0055000B;
}  // namespace method

enum class Direction { to_broker, to_client };

/// One frame as it passed, with what tests judge of it.
struct Frame {
  Direction direction = Direction::to_broker;
  std::size_t link = 0;   ///< which connection of the proxy's, from 0, in the order of their coming
  std::uint8_t type = 0;  ///< 1 method, 2 header, 3 body, 8 heartbeat
  std::uint16_t channel = 0;
  std::uint32_t method = 0;        ///< of a method frame, as in namespace method
  std::uint64_t delivery_tag = 0;  ///< of ack, nack, reject, deliver, get-ok
  bool multiple = false;           ///< of ack, nack
  bool requeue = false;            ///< of nack, reject
  std::string exchange{};          ///< of publish, return, deliver, get-ok
  std::string routing_key{};       ///< likewise
  std::uint64_t size = 0;  ///< of the payload; of a header frame the size of the body that it announces
  std::chrono::steady_clock::time_point time{};
};

/// Takes the bytes of one direction of a connection apart into frames. The tests' own, on purpose: nothing
/// of src/ judges itself.
class FrameReader {
 public:
  FrameReader(Direction direction, std::size_t link) : direction_(direction), link_(link) {}
  /// Appends the frames that are whole now. Bytes that are none end the reading.
  void read(std::string_view bytes, std::vector<Frame>& frames);
  /// Of bytes that read() is to get next: where the first frame that ends in them has its last byte.
  [[nodiscard]] std::optional<std::size_t> first_end(std::string_view bytes) const;

 private:
  [[nodiscard]] Frame decode(std::string_view head, std::string_view payload) const;

  Direction direction_;
  std::size_t link_;
  bool started_ = false;  // the client's first eight bytes are no frame
  bool garbled_ = false;
  std::string buffer_;
};

/// Frames for a peer to send: `arguments` are encoded already.
std::string frame(std::uint8_t type, std::uint16_t channel, std::string_view payload);
std::string method_frame(std::uint16_t channel, std::uint32_t method, std::string_view arguments = {});
/// connection.start of AMQP 0-9-1. `properties` are a table's entries, encoded.
std::string start_frame(std::string_view mechanisms = "PLAIN", std::string_view properties = {});
std::string header_frame(std::uint16_t channel, std::uint64_t body_size);
std::string number(std::uint64_t value, std::size_t bytes);  ///< big-endian
std::string short_string(std::string_view text);
std::string long_string(std::string_view text);

}  // namespace support
