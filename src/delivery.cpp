#include <warren/delivery.hpp>

#include <warren/error.hpp>

#include "engine/channel_core.hpp"
#include "handle.hpp"
#include "retry/headers.hpp"
#include "retry/read.hpp"

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
    throw InvalidArgument({.operation = operation,
                           .text = "the Delivery was moved from, or made by default: no channel delivered it",
                           .permanent = true});
  }
  throw ChannelError({.operation = operation,
                      .text = "the channel that delivered it is gone: the message comes again",
                      .scope = ErrorScope::channel});
}

}  // namespace

RetryInfo Delivery::retry() const {
  using namespace retry;
  const FieldTable& from = headers();
  const std::int64_t runs = std::int64_t{runs_before_} + 1;
  return {.attempt = add(read_count(from, header::attempt).value_or(0), runs),
          .queue_attempt = add(read_count(from, header::queue_attempt).value_or(0), runs),
          .replays = read_count(from, header::replay_count).value_or(0),
          .id = read_name(from, header::id).value_or(""),
          .first_failure = read_moment(from, header::first_failure_at),
          .last_failure = read_moment(from, header::last_failure_at),
          .due = read_moment(from, header::due_at),
          .reason = read_text(from, header::reason).value_or(""),
          .error_type = read_text(from, header::error_type).value_or(""),
          .error_message = read_text(from, header::error_message, header::longest_message).value_or(""),
          .original_queue = read_name(from, header::original_queue).value_or("")};
}

void Delivery::ack() const { channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, false); }
void Delivery::ack_up_to() const { channel_of(channel_, "basic.ack")->acknowledge(delivery_tag_, true); }

void Delivery::nack(Requeue requeue) const {
  channel_of(channel_, "basic.nack")->refuse(delivery_tag_, requeue == Requeue::yes, false);
}

void Delivery::reject(Requeue requeue) const {
  channel_of(channel_, "basic.reject")->refuse(delivery_tag_, requeue == Requeue::yes, true);
}

}  // namespace warren::inline v0
