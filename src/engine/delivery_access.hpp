#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <warren/delivery.hpp>

#include "wire/methods.hpp"

namespace warren::inline v0::engine {

/// Fills a Delivery, which is read-only for all other code.
class DeliveryAccess {
 public:
  [[nodiscard]] static Message& message(Delivery& delivery) noexcept { return delivery.message_; }
  static void channel(Delivery& delivery, std::weak_ptr<ChannelCore> channel) noexcept {
    delivery.channel_ = std::move(channel);
  }
  [[nodiscard]] static std::shared_ptr<ChannelCore> channel(const Delivery& delivery) noexcept {
    return delivery.channel_.lock();
  }
  [[nodiscard]] static bool is_of(const Delivery& delivery,
                                  const std::weak_ptr<ChannelCore>& channel) noexcept {
    return !delivery.channel_.owner_before(channel) && !channel.owner_before(delivery.channel_);
  }
  static void address(Delivery& delivery, std::string exchange, std::string routing_key) {
    delivery.exchange_ = std::move(exchange);
    delivery.routing_key_ = std::move(routing_key);
  }
  static void redelivered(Delivery& delivery, bool redelivered) noexcept {
    delivery.redelivered_ = redelivered;
  }
  /// Copies of the delivery share its body from now on, whatever its size.
  static void share_body(Delivery& delivery) {
    Message& message = delivery.message_;
    if (message.shared_ || message.body_.empty()) return;
    message.shared_ = std::make_shared<const std::string>(std::move(message.body_));
    message.body_.clear();
  }
  /// Releases the delivery's reference to a shared body. Other deliveries may still refer to it.
  static void drop_body(Delivery& delivery) noexcept { delivery.message_.shared_.reset(); }
  static void runs_before(Delivery& delivery, std::uint32_t runs) noexcept { delivery.runs_before_ = runs; }
  /// Copies the fields of basic.deliver, basic.get-ok or basic.return; the existing strings keep their
  /// memory.
  static void method(Delivery& delivery, const wire::InboundMethod& method) {
    delivery.exchange_.assign(method.exchange);
    delivery.routing_key_.assign(method.routing_key);
    delivery.consumer_tag_.assign(method.name);
    delivery.delivery_tag_ = method.delivery_tag;
    delivery.messages_left_ = method.message_count;
    delivery.redelivered_ = method.redelivered;
  }
};

}  // namespace warren::inline v0::engine
