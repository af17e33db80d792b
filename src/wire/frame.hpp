#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <warren/message.hpp>

namespace warren::inline v0::wire {

/// The bytes of outgoing frames, one frame after the other.
using Bytes = std::vector<char>;

/// RabbitMQ's own upper limit for a message body, in bytes.
inline constexpr std::uint64_t max_body = std::uint64_t{512} << 20U;

/// The bytes that a frame adds to its payload: type, channel, length, and the end byte (AMQP 0-9-1 section
/// 4.2.3).
inline constexpr std::size_t frame_overhead = 8;

/// How many bytes a header frame may exceed frame_max by. RabbitMQ does not split a header. It adds headers
/// of its own when it dead-letters a message (`x-death`) or moves it between brokers.
inline constexpr std::size_t header_excess = std::size_t{1} << 20U;

enum class FrameType : std::uint8_t { method = 1, header = 2, body = 3, heartbeat = 8 };

struct Frame {
  FrameType type = FrameType::heartbeat;
  std::uint16_t channel = 0;
  std::string_view payload{};  ///< refers to the input
};

/// Removes the first frame from `input`. Nullopt, with `input` unchanged, if the frame is incomplete.
/// @param frame_max  as negotiated, in bytes with the overhead; 0, AMQP's "no limit", means 128 MiB
/// @throws MalformedFrame  unknown type, wrong end byte, or payload above frame_max - 8 (a header may exceed
/// it by header_excess); thrown as soon as it is detected
[[nodiscard]] std::optional<Frame> next_frame(std::string_view& input, std::uint32_t frame_max);
/// The size of the first frame of `input`, from its length field; 0 if that field has not arrived yet.
[[nodiscard]] std::size_t frame_size(std::string_view input);

/// The payload of a header frame.
struct ContentHeader {
  std::uint16_t class_id = 0;
  std::uint64_t body_size = 0;
  std::string_view properties{};  ///< from the property flags on, for decode_properties()
};
/// @throws MalformedFrame
[[nodiscard]] ContentHeader decode_content_header(std::string_view payload);

void append_heartbeat(Bytes& out);

/// Appends a message: basic.publish, header, and body in frames of at most `frame_max` bytes.
/// @param stamp      sent as the last header, `warren-stamp`, of type int64
/// @param frame_max  the limit of next_frame()
/// @param default_mode  used if the properties have no delivery mode
/// @throws InvalidArgument  exchange or routing key above 255 bytes, a property that cannot be sent, a header
/// frame above frame_max, or a body above 512 MiB. After any exception, `out` is unchanged.
void append_content(Bytes& out, std::uint16_t channel, std::string_view exchange,
                    std::string_view routing_key, bool mandatory, const Properties& properties,
                    const std::optional<std::int64_t>& stamp, std::string_view body, std::uint32_t frame_max,
                    std::optional<DeliveryMode> default_mode = std::nullopt);

/// One outgoing message: its frames, and separately a body that is shared instead of copied. A copy shares
/// both.
struct ContentFrames {
  std::shared_ptr<Bytes> bytes{};             ///< the frames, without the shared body
  std::shared_ptr<const std::string> body{};  ///< null: the body is in `bytes`
  /// The offset in `bytes` of the body's first part; each further part belongs frame_overhead bytes later.
  std::size_t body_at = 0;
  std::size_t part = 0;  ///< the size of each part, except the last one

  /// Encodes a message into this object, as append_content() does. After an exception it is empty.
  void assign(std::uint16_t channel, std::string_view exchange, std::string_view routing_key, bool mandatory,
              const Message& message, const std::optional<std::int64_t>& stamp, std::uint32_t frame_max,
              std::optional<DeliveryMode> default_mode);
  /// Changes the channel of the frames, and splits the body again if a frame is above `frame_max`.
  /// @throws InvalidArgument  the properties do not fit one frame; the object is then unchanged
  void refit(std::uint16_t channel, std::uint32_t frame_max);

  /// The number of bytes to send.
  [[nodiscard]] std::size_t size() const noexcept { return bytes->size() + (body ? body->size() : 0); }
  /// The contiguous bytes from `offset` on, which must be below size().
  [[nodiscard]] std::string_view chunk(std::size_t offset) const noexcept;
};

}  // namespace warren::inline v0::wire
