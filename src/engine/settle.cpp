#include <warren/delivery.hpp>

#include <warren/error.hpp>

#include "engine/channel_core.hpp"
#include "values/handle.hpp"
#include "values/test_record.hpp"

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

void Delivery::ack() const {
  if (auto* record = test_record_.get()) return record->settle(Settlement::ack, delivery_tag_);
  channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, false);
}

void Delivery::ack_up_to() const {
  if (auto* record = test_record_.get()) return record->settle(Settlement::ack_up_to, delivery_tag_);
  channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, true);
}

void Delivery::nack(Requeue requeue) const {
  const bool back = requeue == Requeue::yes;
  if (auto* record = test_record_.get())
    return record->settle(back ? Settlement::nack_requeue : Settlement::nack, delivery_tag_);
  channel_of(channel_, "basic.nack")->refuse(delivery_tag_, back, false);
}

void Delivery::reject(Requeue requeue) const {
  const bool back = requeue == Requeue::yes;
  if (auto* record = test_record_.get())
    return record->settle(back ? Settlement::reject_requeue : Settlement::reject, delivery_tag_);
  channel_of(channel_, "basic.reject")->refuse(delivery_tag_, back, true);
}

}  // namespace warren::inline v0
