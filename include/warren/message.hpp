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
/// The name of the enumerator, for example `persistent`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(DeliveryMode mode) noexcept;

/// The properties of a message (AMQP 0-9-1 section 1.8.3.1, `basic` class). A property that is not set is not
/// sent.
///
/// Each string is at most 255 bytes. All properties and headers must fit one frame (128 KiB by default). If a
/// limit is exceeded, publishing throws InvalidArgument and sends nothing.
struct Properties {
  std::optional<std::string> content_type{};      ///< the MIME type of the body
  std::optional<std::string> content_encoding{};  ///< the encoding of the body, for example `gzip`
  FieldTable headers{};  ///< headers of the application; keys that begin with `x-` belong to the broker
  std::optional<DeliveryMode> delivery_mode{};  ///< if not set, a Publisher sends `persistent`
  std::optional<std::uint8_t> priority{};  ///< 0 to 9, for queues that were declared with a maximum priority
  std::optional<std::string> correlation_id{};  ///< identifies the request that a reply belongs to
  std::optional<std::string> reply_to{};        ///< the queue for replies
  /// The time to live in a queue, 0 to 2^32 - 1 ms (https://www.rabbitmq.com/docs/ttl).
  std::optional<std::chrono::milliseconds> expiration{};
  std::optional<std::string> message_id{};  ///< an identifier that the application chooses
  std::optional<Timestamp> timestamp{};     ///< a time in whole seconds
  std::optional<std::string> type{};        ///< the name of the kind of message
  /// The user that published it. The broker checks it: 406 if it is not the user of the connection.
  std::optional<std::string> user_id{};
  std::optional<std::string> app_id{};  ///< the application that published it
  /// Deprecated by AMQP. It is kept so that a message that is published again keeps all its properties.
  std::optional<std::string> cluster_id{};

  friend bool operator==(const Properties&, const Properties&) = default;
};

/// A message: a body of any bytes, and its properties. A plain value.
///
/// If the constructor gets a body of 64 KiB or more, copies of the message share the body. A Publisher shares
/// it, too, until the publish is settled. Smaller bodies are copied.
class WARREN_EXPORT Message {
 public:
  Message() = default;
  /// A message with these bytes as its body. Implicit, so that `publisher.publish("hello")` works.
  /// @param body        any bytes, or none. RabbitMQ's default limit is 16 MiB from 4.0 on, and 128 MiB in
  ///                    earlier versions
  /// @param properties  a property that is not set is not sent
  Message(std::string body, Properties properties = {});
  /// A message with a copy of these bytes as its body. Implicit.
  Message(std::string_view body, Properties properties = {});
  /// A message with a copy of these bytes as its body. Implicit.
  Message(std::span<const std::byte> body, Properties properties = {});
  /// A message with a copy of this text, up to its first zero byte, as its body. Implicit.
  /// @param body        not null
  /// @param properties  a property that is not set is not sent
  Message(const char* body, Properties properties = {});
  /// A null pointer is not a body.
  Message(std::nullptr_t, Properties = {}) = delete;

  /// A message with content type `application/json`. The text is not checked.
  [[nodiscard]] static Message json(std::string text);
  /// A message with content type `text/plain; charset=utf-8`.
  [[nodiscard]] static Message text(std::string text);

  /// The bytes of the body. They are valid until the message changes.
  [[nodiscard]] std::string_view body() const noexcept {
    return shared_ ? std::string_view(*shared_) : std::string_view(body_);
  }
  /// The bytes of the body. They are valid until the message changes.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  /// The properties.
  [[nodiscard]] const Properties& properties() const noexcept { return properties_; }
  /// The properties, which the caller may change.
  [[nodiscard]] Properties& properties() noexcept { return properties_; }
  /// Sets the header `x-stream-filter-value`. Consumers of a stream can ask for messages with certain values
  /// only (ConsumerOptions::stream_filter, RabbitMQ 3.13 or later).
  void set_stream_filter(std::string_view value);
  /// The body, to change it in place. If other messages share the body, this message gets its own copy first.
  [[nodiscard]] std::string& body_buffer();

  /// Whether the bytes of the bodies and the properties are equal.
  friend WARREN_EXPORT bool operator==(const Message& left, const Message& right);

 private:
  friend struct wire::ContentFrames;
  friend class engine::DeliveryAccess;

  std::string body_;
  std::shared_ptr<const std::string> shared_;  // instead of body_
  Properties properties_;
};

}  // namespace warren::inline v0
