#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <warren/delivery.hpp>

#include "wire/frame.hpp"
#include "wire/methods.hpp"

namespace warren::inline v0::engine {

/// A received message, with the fields of its method.
struct Content {
  std::uint32_t method = 0;             ///< basic_deliver, basic_get_ok or basic_return of wire::id
  std::uint16_t code = 0;               ///< basic.return
  std::string text{};                   ///< basic.return
  std::optional<std::int64_t> stamp{};  ///< the publisher's number, see wire::stamp_key
  /// Why the properties are unreadable; they are then empty. It does not end the connection: the message
  /// would be redelivered and end the next connection too.
  std::string fault{};
  Delivery delivery{};
};

/// Assembles the frames of one channel: method, header, body frames. They come in this order, with no other
/// frame of the channel between them (AMQP 0-9-1 section 4.2.6). Contents are recycled, so that a steady
/// stream of similar messages allocates nothing. Not thread-safe: only the I/O thread uses it.
class ContentAssembler {
 public:
  using ContentPtr = std::unique_ptr<Content>;

  /// Sets the channel on which the deliveries are settled.
  void set_channel(std::weak_ptr<ChannelCore> channel) noexcept { channel_ = std::move(channel); }
  /// Begins a content with basic.deliver, basic.get-ok or basic.return. @throws wire::MalformedFrame if a
  /// content is open
  void begin(const wire::InboundMethod& method);
  /// Adds a header or body frame. Returns the content if it is complete, else null.
  /// @throws wire::MalformedFrame  out of order, of another class, or more body bytes than the header
  /// announced
  [[nodiscard]] ContentPtr add(const wire::Frame& frame);
  /// Whether a content has begun. Any other method on this channel is then a protocol error.
  [[nodiscard]] bool open() const noexcept { return content_ != nullptr; }
  /// Drops the incomplete content, because the channel or the connection is gone.
  void reset() noexcept;
  /// Takes a content back, so that its memory is used again. The memory of a large body is freed.
  void recycle(ContentPtr content);

 private:
  [[nodiscard]] ContentPtr complete();
  [[nodiscard]] Message& message() noexcept;

  std::weak_ptr<ChannelCore> channel_;
  ContentPtr content_;
  bool has_header_ = false;
  std::uint64_t missing_ = 0;  // bytes of the body that are still to come
  std::vector<ContentPtr> spare_;
};

}  // namespace warren::inline v0::engine
