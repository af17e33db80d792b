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

/// A message as it came in, with what its method said.
struct Content {
  std::uint32_t method = 0;             ///< basic_deliver, basic_get_ok or basic_return of wire::id
  std::uint16_t code = 0;               ///< basic.return
  std::string text{};                   ///< basic.return
  std::optional<std::int64_t> stamp{};  ///< of the publisher's, see wire::stamp_key
  /// Why its properties can't be read (they are then empty): a message to be told of, no reason to drop the
  /// connection, since it would come again and drop the next one.
  std::string fault{};
  Delivery delivery{};
};

/// Puts the frames of one channel together: method, header, body frames, in this order and with nothing of
/// the same channel between them (AMQP 0-9-1 section 4.2.6). Contents are recycled, so that a steady stream
/// of messages of one shape allocates nothing. Not synchronised: the I/O thread's own.
class ContentAssembler {
 public:
  using ContentPtr = std::unique_ptr<Content>;

  /// The channel that deliveries are to be settled on.
  void set_channel(std::weak_ptr<ChannelCore> channel) noexcept { channel_ = std::move(channel); }
  /// A basic.deliver, basic.get-ok or basic.return. @throws wire::MalformedFrame while a content is open
  void begin(const wire::InboundMethod& method);
  /// A header or body frame. The content if it is complete, else null.
  /// @throws wire::MalformedFrame  out of order, of another class, or more body than the header said
  [[nodiscard]] ContentPtr add(const wire::Frame& frame);
  /// Whether a content has begun; any other method on this channel is then a fault of the peer's.
  [[nodiscard]] bool open() const noexcept { return content_ != nullptr; }
  /// Forgets what has begun: the channel or the connection is gone.
  void reset() noexcept;
  /// Takes a content back for its memory. A large body's is not kept.
  void recycle(ContentPtr content);

 private:
  [[nodiscard]] ContentPtr complete();
  [[nodiscard]] Message& message() noexcept;

  std::weak_ptr<ChannelCore> channel_;
  ContentPtr content_;
  bool has_header_ = false;
  std::uint64_t missing_ = 0;  // bytes of the body
  std::vector<ContentPtr> spare_;
};

}  // namespace warren::inline v0::engine
