#include <warren/delivery.hpp>

#include <warren/error.hpp>

#include "engine/channel_core.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

std::shared_ptr<engine::ChannelCore> channel_of(const std::weak_ptr<engine::ChannelCore>& channel,
                                                const char* operation) {
  if (auto alive = channel.lock()) {
    if (alive->process().seems_left()) refuse_left("Delivery", operation);
    return alive;
  }
  const std::weak_ptr<engine::ChannelCore> none;
  if (!channel.owner_before(none) && !none.owner_before(channel)) {
    throw LogicError({.operation = operation,
                      .text = "the Delivery was moved from, or made by default: no channel delivered it",
                      .permanent = true});
  }
  throw ChannelError({.operation = operation,
                      .text = "the channel that delivered it is gone: the message comes again",
                      .scope = ErrorScope::channel});
}

}  // namespace

void Delivery::ack() const { channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, false); }
void Delivery::ack_up_to() const { channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, true); }

void Delivery::nack(Requeue requeue) const {
  channel_of(channel_, "basic.nack")->refuse(delivery_tag_, requeue == Requeue::yes, false);
}

void Delivery::reject(Requeue requeue) const {
  channel_of(channel_, "basic.reject")->refuse(delivery_tag_, requeue == Requeue::yes, true);
}

}  // namespace warren::inline v0
