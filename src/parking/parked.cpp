#include "parking/parked.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "retry/copy.hpp"
#include "retry/read.hpp"

namespace warren::inline v0::parking {

using namespace retry;
namespace {

using Moment = std::chrono::system_clock::time_point;

// The latest dead-lettering of a message, which is the first entry of `x-death`
// (https://www.rabbitmq.com/docs/dlx#effects). Copies have no `x-death`, so this event brought the message
// here.
const FieldTable* latest_death(const FieldTable& headers) {
  const FieldValue* value = headers.find("x-death");
  const auto* deaths = value == nullptr ? nullptr : value->get_if<FieldArray>();
  return deaths == nullptr || deaths->empty() ? nullptr : deaths->front().get_if<FieldTable>();
}

std::optional<Moment> death_time(const FieldTable& death) noexcept {
  const FieldValue* value = death.find("time");
  const auto* time = value == nullptr ? nullptr : value->get_if<Timestamp>();
  constexpr std::int64_t latest = std::numeric_limits<std::int64_t>::max() / 1'000;
  if (time == nullptr || time->time_since_epoch().count() > latest) return std::nullopt;
  return time->time_since_epoch().count() < 0 ? std::nullopt
                                              : to_moment(time->time_since_epoch().count() * 1'000);
}

std::optional<std::string> first_text(const FieldTable& table, std::string_view key) {
  const std::optional<FieldArray> texts = read_texts(table, key);
  const std::optional<std::string_view> text = texts ? texts->front().as_string() : std::nullopt;
  if (!text || text->size() > header::longest_text) return std::nullopt;
  return std::string(*text);
}

// Reads where the message was published to, from warren's headers or else from the broker's.
void read_origin(ParkedMessage& parked, const FieldTable& headers, const FieldTable* death) {
  std::optional<std::string> exchange = read_text(headers, header::original_exchange);
  std::optional<std::string> routing_key = read_text(headers, header::original_routing_key);
  if ((!exchange || !routing_key) && death != nullptr) {
    exchange = read_text(*death, "exchange");
    routing_key = first_text(*death, "routing-keys");
  }
  if (!exchange || !routing_key) return;
  parked.exchange = std::move(*exchange);
  parked.routing_key = std::move(*routing_key);
}

// The original expiration of a message. When the broker dead-letters a message, it removes the expiration and
// records it in `x-death`.
std::optional<std::int64_t> original_expiration(const Properties& properties, const FieldTable* death) {
  if (properties.expiration) return properties.expiration->count();
  const std::optional<std::string> text =
      death == nullptr ? std::nullopt : read_name(*death, "original-expiration");
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

ParkedMessage read_parked(Message message, std::string fault) {
  ParkedMessage parked{.message = std::move(message), .fault = std::move(fault)};
  const FieldTable& headers = parked.message.properties().headers;
  const FieldTable* death = latest_death(headers);
  parked.reason = (death == nullptr ? std::nullopt : read_name(*death, "reason"))
                      .value_or(read_name(headers, header::reason).value_or(""));
  std::optional<std::string> queue = read_name(headers, header::original_queue);
  if (!queue && death != nullptr) queue = read_name(*death, "queue");
  parked.queue = std::move(queue).value_or("");
  read_origin(parked, headers, death);
  parked.error_type = read_text(headers, header::error_type).value_or("");
  parked.error_message = read_text(headers, header::error_message, header::longest_message).value_or("");
  parked.attempts = read_count(headers, header::attempt).value_or(0);
  parked.replays = read_count(headers, header::replay_count).value_or(0);
  parked.first_failure = read_moment(headers, header::first_failure_at);
  parked.last_failure = death == nullptr ? read_moment(headers, header::last_failure_at) : death_time(*death);
  return parked;
}

bool matches(const ParkedSelection& selection, const ParkedMessage& parked) {
  if (!selection.reason.empty() && parked.reason != selection.reason) return false;
  if (!selection.original_queue.empty() && parked.queue != selection.original_queue) return false;
  if (!selection.failed_before && !selection.failed_since) return true;
  if (!parked.last_failure) return false;
  return (!selection.failed_before || *parked.last_failure < *selection.failed_before) &&
         (!selection.failed_since || *parked.last_failure >= *selection.failed_since);
}

Message make_replay(ParkedMessage parked) {
  Message message = std::move(parked.message);
  Properties& properties = message.properties();
  const FieldTable before = std::move(properties.headers);
  FieldTable headers = kept_headers(before, header::reset_by_replay);
  headers.set(header::replay_count, add(parked.replays, 1));
  headers.set(header::original_queue, std::move(parked.queue));
  if (!parked.exchange.empty() || !parked.routing_key.empty()) {
    headers.set(header::original_exchange, std::move(parked.exchange));
    headers.set(header::original_routing_key, std::move(parked.routing_key));
  }
  put_headers(properties, std::move(headers), original_expiration(properties, latest_death(before)),
              read_texts(before, "CC"));
  return message;
}

Message make_parked_again(ParkedMessage parked) {
  Message message = std::move(parked.message);
  Properties& properties = message.properties();
  FieldTable& headers = properties.headers;
  if (latest_death(headers) != nullptr) {
    if (!parked.reason.empty()) headers.set(header::reason, std::move(parked.reason));
    if (!parked.queue.empty()) headers.set(header::original_queue, std::move(parked.queue));
    if (!parked.exchange.empty() || !parked.routing_key.empty()) {
      headers.set(header::original_exchange, std::move(parked.exchange));
      headers.set(header::original_routing_key, std::move(parked.routing_key));
    }
    if (parked.last_failure) {
      headers.set(header::last_failure_at, std::chrono::duration_cast<std::chrono::milliseconds>(
                                               parked.last_failure->time_since_epoch())
                                               .count());
    }
  }
  if (auto cc = read_texts(headers, "CC"); cc && !headers.contains(header::original_cc))
    headers.set(header::original_cc, std::move(*cc));
  for (const std::string_view key : {"CC", "BCC", "x-delivery-count", "x-acquired-count"}) headers.erase(key);
  if (properties.user_id && !headers.contains(header::original_user_id))
    headers.set(header::original_user_id, std::move(*properties.user_id));
  properties.user_id.reset();
  return message;
}

void drop_deaths(Properties& properties) { properties.headers = kept_headers(properties.headers); }

}  // namespace warren::inline v0::parking
