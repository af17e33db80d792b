#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

namespace wire {
struct ContentFrames;
}
namespace engine {
class DeliveryAccess;
}

/// Whether a message survives a restart of the broker in a durable queue (`delivery-mode`).
enum class DeliveryMode : std::uint8_t { transient = 1, persistent = 2 };
/// Its name: "transient", "persistent".
[[nodiscard]] WARREN_EXPORT const char* to_string(DeliveryMode mode) noexcept;

/// The properties of a message (AMQP 0-9-1 section 1.8.3.1, `basic` class). What is not set is not sent.
///
/// Strings are at most 255 bytes. All properties with their headers must fit one frame (128 KiB by default);
/// publishing refuses what does not with InvalidArgument, before anything is sent.
struct Properties {
  std::optional<std::string> content_type{};      ///< MIME type of the body
  std::optional<std::string> content_encoding{};  ///< MIME encoding of the body
  FieldTable headers{};  ///< headers of the application; keys in `x-` belong to the broker
  std::optional<DeliveryMode> delivery_mode{};  ///< Publisher sets persistent where it is not set
  std::optional<std::uint8_t> priority{};       ///< 0 to 9; used by queues declared with a maximum priority
  std::optional<std::string> correlation_id{};  ///< which request a reply belongs to
  std::optional<std::string> reply_to{};        ///< the queue for replies
  /// Time to live in a queue, 0 to 2^32 - 1 ms (https://www.rabbitmq.com/docs/ttl).
  std::optional<std::chrono::milliseconds> expiration{};
  std::optional<std::string> message_id{};  ///< the application's own
  std::optional<Timestamp> timestamp{};     ///< whole seconds
  std::optional<std::string> type{};        ///< name of the kind of message
  std::optional<std::string> user_id{};  ///< checked by the broker: 406 where it is not the connection's user
  std::optional<std::string> app_id{};   ///< the application that published it
  std::optional<std::string> cluster_id{};  ///< deprecated by AMQP; kept so that nothing is lost

  friend bool operator==(const Properties&, const Properties&) = default;
};

/// A message: a body of any bytes, and its properties. A plain value.
///
/// A body of 64 KiB or more that was handed to the constructor is shared by the message's copies, and by a
/// Publisher until it is confirmed, instead of being copied.
class WARREN_EXPORT Message {
 public:
  Message() = default;
  /// A message with these bytes as its body. Implicit, so that `publisher.publish("hello")` works.
  /// @param body        any bytes, also none; the broker's limit is 16 MiB from RabbitMQ 4.0 on, and 128 MiB
  ///                    before
  /// @param properties  a property that is not set is not sent
  Message(std::string body, Properties properties = {});
  /// A message with a copy of these bytes as its body. Implicit.
  Message(std::string_view body, Properties properties = {});
  /// A message with a copy of these bytes as its body. Implicit.
  Message(std::span<const std::byte> body, Properties properties = {});
  /// A message with a copy of this text, up to its first 0, as its body. Implicit.
  /// @param body  not null
  Message(const char* body, Properties properties = {});
  /// A null pointer is no body.
  Message(std::nullptr_t, Properties = {}) = delete;

  /// A message with content type `application/json`. The text is sent as it is, unchecked.
  [[nodiscard]] static Message json(std::string text);
  /// A message with content type `text/plain; charset=utf-8`.
  [[nodiscard]] static Message text(std::string text);

  /// The body's bytes, valid until the message changes.
  [[nodiscard]] std::string_view body() const noexcept {
    return shared_ ? std::string_view(*shared_) : std::string_view(body_);
  }
  /// The body's bytes, valid until the message changes.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return std::as_bytes(std::span(body().data(), body().size()));
  }
  /// Its properties.
  [[nodiscard]] const Properties& properties() const noexcept { return properties_; }
  /// Its properties, to be set.
  [[nodiscard]] Properties& properties() noexcept { return properties_; }
  /// Sets the header `x-stream-filter-value`: consumers of a stream may ask for messages of some values only
  /// (ConsumerOptions::stream_filter; RabbitMQ 3.13 or later).
  void set_stream_filter(std::string_view value);
  /// The body itself, to fill in place. Copies one that is shared, which it is no longer from then on.
  [[nodiscard]] std::string& body_buffer();

  /// The same bytes in the body, and equal properties.
  friend bool operator==(const Message& left, const Message& right) {
    return left.body() == right.body() && left.properties_ == right.properties_;
  }

 private:
  friend struct wire::ContentFrames;
  friend class engine::DeliveryAccess;

  std::string body_;
  std::shared_ptr<const std::string> shared_;  // instead of body_
  Properties properties_;
};

}  // namespace warren::inline v0
