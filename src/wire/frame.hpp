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

/// Frames on their way out, one after the other.
using Bytes = std::vector<char>;

/// RabbitMQ's own ceiling for a body.
inline constexpr std::uint64_t max_body = std::uint64_t{512} << 20U;

/// What a frame adds to its payload: type, channel, length, and the end byte (AMQP 0-9-1 section 4.2.3).
inline constexpr std::size_t frame_overhead = 8;

/// By how much a header frame may be above frame_max, in bytes. RabbitMQ does not split a header, and adds
/// headers of its own when it dead-letters a message (`x-death`), or moves it between brokers.
inline constexpr std::size_t header_excess = std::size_t{1} << 20U;

enum class FrameType : std::uint8_t { method = 1, header = 2, body = 3, heartbeat = 8 };

struct Frame {
  FrameType type = FrameType::heartbeat;
  std::uint16_t channel = 0;
  std::string_view payload{};  ///< into the input
};

/// Takes the first frame off `input`; nullopt, and `input` untouched, if it is not complete yet.
/// @param frame_max  as negotiated, in bytes with the overhead; 0, AMQP's "no limit", is taken as 128 MiB
/// @throws MalformedFrame  unknown type, payload above frame_max - 8 (of a header: and above header_excess
/// more),
///                         wrong end byte; as soon as it shows
[[nodiscard]] std::optional<Frame> next_frame(std::string_view& input, std::uint32_t frame_max);
/// How many bytes the first frame of `input` takes, from its own length; 0 if that is not there yet.
[[nodiscard]] std::size_t frame_size(std::string_view input);

/// The payload of a header frame.
struct ContentHeader {
  std::uint16_t class_id = 0;
  std::uint64_t body_size = 0;
  std::string_view properties{};  ///< from the property flags on, for decode_properties
};
/// @throws MalformedFrame
[[nodiscard]] ContentHeader decode_content_header(std::string_view payload);

void append_heartbeat(Bytes& out);

/// Appends a message: basic.publish, header, and body in frames of at most `frame_max` bytes.
/// @param stamp      sent as the last header, `warren-stamp`, of type int64
/// @param frame_max  as for next_frame
/// @param default_mode  used if the properties have no delivery mode
/// @throws InvalidArgument  exchange or routing key above 255 bytes, a property that cannot be sent, a header
///                          frame above frame_max, a body above 512 MiB. `out` is as it was, after any
///                          exception.
void append_content(Bytes& out, std::uint16_t channel, std::string_view exchange,
                    std::string_view routing_key, bool mandatory, const Properties& properties,
                    const std::optional<std::int64_t>& stamp, std::string_view body, std::uint32_t frame_max,
                    std::optional<DeliveryMode> default_mode = std::nullopt);

/// One message on its way out: its frames, and beside them a body that is shared rather than copied.
/// A copy refers to the same bytes.
struct ContentFrames {
  std::shared_ptr<Bytes> bytes{};             ///< the frames, without that body
  std::shared_ptr<const std::string> body{};  ///< null: the body is in `bytes`
  std::size_t body_at = 0;  ///< of `bytes`: where its first part belongs, the others frame_overhead behind
  std::size_t part = 0;     ///< bytes of each part but the last

  /// Makes them those of a message, as append_content does. After an exception they are empty.
  void assign(std::uint16_t channel, std::string_view exchange, std::string_view routing_key, bool mandatory,
              const Message& message, const std::optional<std::int64_t>& stamp, std::uint32_t frame_max,
              std::optional<DeliveryMode> default_mode);
  /// Makes them those of another channel; splits the body again if a frame is above `frame_max`.
  /// @throws InvalidArgument  the properties do not fit one frame; nothing is changed then
  void refit(std::uint16_t channel, std::uint32_t frame_max);

  /// Of all that goes out.
  [[nodiscard]] std::size_t size() const noexcept { return bytes->size() + (body ? body->size() : 0); }
  /// From `offset` on, below size(): as much as lies together.
  [[nodiscard]] std::string_view chunk(std::size_t offset) const noexcept;
};

}  // namespace warren::inline v0::wire
