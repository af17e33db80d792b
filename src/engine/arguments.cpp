#include "engine/arguments.hpp"

#include <fmt/format.h>

#include <limits>

#include <warren/error.hpp>

namespace warren::inline v0::engine {
namespace {

// RabbitMQ reads a TTL as milliseconds in an unsigned 32-bit integer.
constexpr std::int64_t longest_ttl = 4'294'967'295;

std::int64_t within(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return value;
  throw InvalidArgument({.operation = "queue.declare",
                         .text = fmt::format("{} is {}, not within {} to {}", name, value, least, most),
                         .permanent = true});
}

const char* overflow_name(Overflow overflow) noexcept {
  switch (overflow) {
    case Overflow::reject_publish:
      return "reject-publish";
    case Overflow::reject_publish_dlx:
      return "reject-publish-dlx";
    case Overflow::drop_head:
      break;
  }
  return "drop-head";
}

}  // namespace

const char* exchange_type(ExchangeType type) noexcept {
  switch (type) {
    case ExchangeType::fanout:
      return "fanout";
    case ExchangeType::topic:
      return "topic";
    case ExchangeType::headers:
      return "headers";
    case ExchangeType::direct:
      break;
  }
  return "direct";
}

FieldTable exchange_arguments(const ExchangeOptions& options) {
  FieldTable arguments = options.arguments;
  if (options.alternate_exchange) arguments.set("alternate-exchange", *options.alternate_exchange);
  return arguments;
}

FieldTable queue_arguments(const QueueOptions& options) {
  constexpr auto any = std::numeric_limits<std::int64_t>::max();
  FieldTable arguments = options.arguments;
  const auto set_number = [&](const char* name, const auto& value, std::int64_t least, std::int64_t most) {
    if (value) arguments.set(name, within(name, static_cast<std::int64_t>(*value), least, most));
  };
  const auto set_time = [&](const char* name, const auto& value, std::int64_t least) {
    if (value) arguments.set(name, within(name, value->count(), least, longest_ttl));
  };

  if (options.type == QueueType::quorum) arguments.set("x-queue-type", "quorum");
  if (options.type == QueueType::stream) arguments.set("x-queue-type", "stream");
  set_time("x-message-ttl", options.message_ttl, 0);
  set_time("x-expires", options.expires, 1);
  set_number("x-max-length", options.max_length, 0, any);
  set_number("x-max-length-bytes", options.max_length_bytes, 0, any);
  if (options.overflow) arguments.set("x-overflow", overflow_name(*options.overflow));
  if (options.dead_letter_exchange) arguments.set("x-dead-letter-exchange", *options.dead_letter_exchange);
  if (options.dead_letter_routing_key)
    arguments.set("x-dead-letter-routing-key", *options.dead_letter_routing_key);
  if (options.dead_letter_strategy) {
    arguments.set("x-dead-letter-strategy", *options.dead_letter_strategy == DeadLetterStrategy::at_least_once
                                                ? "at-least-once"
                                                : "at-most-once");
  }
  set_number("x-delivery-limit", options.delivery_limit, 0, any);
  if (options.single_active_consumer) arguments.set("x-single-active-consumer", true);
  set_number("x-max-priority", options.max_priority, 1, 255);
  if (options.max_age) {
    arguments.set("x-max-age", fmt::format("{}s", within("x-max-age", options.max_age->count(), 1, any)));
  }
  set_number("x-stream-max-segment-size-bytes", options.max_segment_size_bytes, 1, any);
  set_number(options.type == QueueType::stream ? "x-initial-cluster-size" : "x-quorum-initial-group-size",
             options.initial_group_size, 1, any);
  if (options.leader_locator) {
    arguments.set("x-queue-leader-locator",
                  *options.leader_locator == LeaderLocator::balanced ? "balanced" : "client-local");
  }
  return arguments;
}

}  // namespace warren::inline v0::engine
