#include "engine/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0::engine {
namespace {

// RabbitMQ reads a TTL as milliseconds in an unsigned 32-bit integer.
constexpr std::int64_t longest_ttl = 4'294'967'295;

[[noreturn]] void refuse(const char* operation, std::string text) {
  throw InvalidArgument({.operation = operation, .text = std::move(text), .permanent = true});
}

// The name of an enumerator as RabbitMQ writes it in arguments.
template <typename Enum>
std::string argument_name(Enum value) {
  std::string name = to_string(value);
  std::ranges::replace(name, '_', '-');
  return name;
}

// The broker ignores invalid values: the queue would work, but never delay a retry.
void check_delayed_retry(const QueueOptions& options) {
  const bool enabled = options.delayed_retry && *options.delayed_retry != DelayedRetry::disabled;
  if (enabled && !options.delayed_retry_min)
    refuse("queue.declare", "delayed_retry needs a delayed_retry_min");
  if (!options.delayed_retry && (options.delayed_retry_min || options.delayed_retry_max))
    refuse("queue.declare",
           "delayed_retry_min and delayed_retry_max need a delayed_retry, which says what waits");
  if (options.delayed_retry_min && options.delayed_retry_max &&
      *options.delayed_retry_max < *options.delayed_retry_min) {
    refuse("queue.declare", "delayed_retry_max is below delayed_retry_min");
  }
}

// An interval as RabbitMQ reads it: a number above 0, then years, months, days, hours, minutes or seconds.
bool is_interval(std::string_view text) {
  if (text.size() < 2 || std::string_view("YMDhms").find(text.back()) == text.npos) return false;
  text.remove_suffix(1);
  return text.find_first_not_of("0123456789") == text.npos && text.find_first_not_of('0') != text.npos;
}

void check_stream_offset(const FieldValue& offset) {
  std::string found = "of another type";
  if (const auto text = offset.as_string()) {
    if (offset.get_if<std::string>() != nullptr &&
        (*text == "first" || *text == "last" || *text == "next" || is_interval(*text)))
      return;
    found = fmt::format("\"{}\"", *text);
  } else if (const auto number = offset.as_integer()) {
    if (*number >= 0) return;
    found = std::to_string(*number);
  } else if (offset.get_if<Timestamp>() != nullptr) {
    return;
  }
  refuse("basic.consume", "x-stream-offset is " + found +
                              ": it is \"first\", \"last\", \"next\", an offset (an integer from 0), a "
                              "timestamp, or an interval such "
                              "as \"1h\" or \"7D\" (units Y, M, D, h, m, s)");
}

void check_stream_filter(const FieldValue& filter) {
  if (filter.get_if<std::string>() != nullptr) return;
  const FieldArray* values = filter.get_if<FieldArray>();
  if (values != nullptr && std::all_of(values->begin(), values->end(), [](const FieldValue& value) {
        return value.get_if<std::string>() != nullptr;
      })) {
    return;
  }
  refuse("basic.consume", "x-stream-filter is neither a string nor an array of strings");
}

std::int64_t within(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return value;
  throw InvalidArgument({.operation = "queue.declare",
                         .text = fmt::format("{} is {}, not within {} to {}", name, value, least, most),
                         .permanent = true});
}

}  // namespace

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

  if (options.type != QueueType::broker_default) arguments.set("x-queue-type", argument_name(options.type));
  set_time("x-message-ttl", options.message_ttl, 0);
  set_time("x-expires", options.expires, 1);
  set_number("x-max-length", options.max_length, 0, any);
  set_number("x-max-length-bytes", options.max_length_bytes, 0, any);
  if (options.overflow) arguments.set("x-overflow", argument_name(*options.overflow));
  if (options.dead_letter_exchange) arguments.set("x-dead-letter-exchange", *options.dead_letter_exchange);
  if (options.dead_letter_routing_key)
    arguments.set("x-dead-letter-routing-key", *options.dead_letter_routing_key);
  if (options.dead_letter_strategy)
    arguments.set("x-dead-letter-strategy", argument_name(*options.dead_letter_strategy));
  set_number("x-delivery-limit", options.delivery_limit, -1, any);
  if (options.single_active_consumer) arguments.set("x-single-active-consumer", true);
  set_number("x-max-priority", options.max_priority, 1, 255);
  if (options.max_age) {
    arguments.set("x-max-age", fmt::format("{}s", within("x-max-age", options.max_age->count(), 1, any)));
  }
  set_number("x-stream-max-segment-size-bytes", options.max_segment_size_bytes, 1, any);
  set_number(options.type == QueueType::stream ? "x-initial-cluster-size" : "x-quorum-initial-group-size",
             options.initial_group_size, 1, any);
  if (options.leader_locator) arguments.set("x-queue-leader-locator", argument_name(*options.leader_locator));
  set_time("x-consumer-timeout", options.consumer_timeout, 1);
  check_delayed_retry(options);
  if (options.delayed_retry) arguments.set("x-delayed-retry-type", argument_name(*options.delayed_retry));
  set_time("x-delayed-retry-min", options.delayed_retry_min, 1);
  set_time("x-delayed-retry-max", options.delayed_retry_max, 1);
  set_number("x-stream-filter-size-bytes", options.filter_size_bytes, 16, 255);
  return arguments;
}

void check_consumer_arguments(const FieldTable& arguments) {
  if (const FieldValue* offset = arguments.find("x-stream-offset")) check_stream_offset(*offset);
  if (const FieldValue* filter = arguments.find("x-stream-filter")) check_stream_filter(*filter);
  const FieldValue* unfiltered = arguments.find("x-stream-match-unfiltered");
  if (unfiltered != nullptr && unfiltered->get_if<bool>() == nullptr)
    refuse("basic.consume", "x-stream-match-unfiltered is neither true nor false");
}

}  // namespace warren::inline v0::engine
