#include "retry/copy.hpp"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

#include "retry/headers.hpp"
#include "retry/read.hpp"
#include "retry/text.hpp"

namespace warren::inline v0::retry {
namespace {

using Milliseconds = std::chrono::milliseconds;

std::int64_t add(std::int64_t count, std::uint32_t more) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  return count > most - more ? most : count + more;
}

// Handler runs on the queue that a delivery is from, `runs` of this delivery included.
std::int64_t attempts_here(const FieldTable& headers, std::uint32_t runs) noexcept {
  return add(read_count(headers, header::queue_attempt).value_or(0), runs);
}

bool is_replaced(std::string_view key) noexcept {
  const auto is_prefix = [&](std::string_view prefix) { return key.starts_with(prefix); };
  return std::ranges::find(header::written, key) != header::written.end() ||
         std::ranges::find(header::stripped, key) != header::stripped.end() ||
         std::ranges::any_of(header::stripped_prefixes, is_prefix);
}

// The application's own headers, in their order, and those of ours that no step here writes.
FieldTable kept_headers(const FieldTable& headers) {
  FieldTable kept;
  for (const FieldEntry& entry : headers) {
    if (!is_replaced(entry.key)) kept.append(entry.key, entry.value);
  }
  return kept;
}

void append_text(FieldTable& out, std::string_view key, std::string_view text, std::size_t limit) {
  if (!text.empty()) out.append(std::string(key), to_utf8(text, limit));
}

// What was known at the first failure stays: whoever handles, parks or replays a copy wants the original's.
void append_original(FieldTable& out, const std::string& queue, const Delivery& delivery) {
  const FieldTable& before = delivery.headers();
  const Properties& properties = delivery.properties();
  const auto append = [&](std::string_view key, FieldValue value) {
    out.append(std::string(key), std::move(value));
  };

  append(header::original_queue, read_name(before, header::original_queue).value_or(queue));
  Origin origin = original_address(before).value_or(Origin{delivery.exchange(), delivery.routing_key()});
  append(header::original_exchange, std::move(origin.exchange));
  append(header::original_routing_key, std::move(origin.routing_key));

  std::optional<std::int64_t> expiration = read_count(before, header::original_expiration);
  if (!expiration && properties.expiration) expiration = properties.expiration->count();
  if (expiration) append(header::original_expiration, *expiration);
  std::optional<std::string> user = read_name(before, header::original_user_id);
  if (!user) user = properties.user_id;
  if (user) append(header::original_user_id, std::move(*user));
  std::optional<FieldArray> cc = read_texts(before, header::original_cc);
  if (!cc) cc = read_texts(before, "CC");
  if (cc) append(header::original_cc, std::move(*cc));
}

}  // namespace

Copy make_copy(const RetryPolicy& policy, const std::string& queue, const Delivery& delivery,
               const Failure& failure, std::chrono::system_clock::time_point now, const std::string& host) {
  if (policy.shape() == RetryPolicy::Shape::none) {
    throw InvalidArgument(
        {.operation = "retry", .text = "the policy none makes no copies", .permanent = true});
  }
  const FieldTable& before = delivery.headers();
  const std::int64_t here = attempts_here(before, failure.runs);

  Copy copy{.reason = failure.reason};
  copy.parked = failure.reason != Reason::exception;
  if (!copy.parked &&
      (policy.shape() == RetryPolicy::Shape::immediate || here >= policy.options().max_attempts)) {
    copy.parked = true;
    copy.reason = Reason::max_attempts;
  }
  copy.queue = copy.parked ? policy.parked_queue(queue) : policy.queue();

  copy.message = delivery.message();
  Properties& properties = copy.message.properties();
  properties.delivery_mode = DeliveryMode::persistent;
  properties.expiration.reset();
  properties.user_id.reset();

  FieldTable headers = kept_headers(before);
  const auto append = [&](std::string_view key, FieldValue value) {
    headers.append(std::string(key), std::move(value));
  };
  const std::int64_t moment = std::chrono::duration_cast<Milliseconds>(now.time_since_epoch()).count();
  const std::int64_t first = std::min(read_count(before, header::first_failure_at).value_or(moment), moment);

  std::optional<std::string> id = read_name(before, header::id);
  if (!id && properties.message_id && !properties.message_id->empty()) id = properties.message_id;
  append(header::id, id ? std::move(*id) : random_uuid());
  append(header::attempt, add(read_count(before, header::attempt).value_or(0), failure.runs));
  append(header::queue_attempt, copy.parked || copy.queue == queue ? here : std::int64_t{0});
  append(header::first_failure_at, first);
  append(header::last_failure_at, moment);
  append(header::reason, to_string(copy.reason));
  append_text(headers, header::error_type, failure.error_type, header::longest_text);
  append_text(headers, header::error_message, failure.error_message, header::longest_message);
  append_original(headers, queue, delivery);
  append_text(headers, header::host, host, header::longest_text);
  const std::string& name = policy.options().name;
  append_text(headers, header::policy, name.empty() ? policy.to_string() : name, header::longest_text);
  properties.headers = std::move(headers);
  return copy;
}

bool run_again_in_place(const RetryPolicy& policy, const Delivery& delivery, std::uint32_t runs) noexcept {
  if (policy.shape() == RetryPolicy::Shape::none) return false;
  if (policy.shape() == RetryPolicy::Shape::to_queue && runs > policy.options().immediate) return false;
  return attempts_here(delivery.headers(), runs) < policy.options().max_attempts;
}

std::optional<Origin> original_address(const FieldTable& headers) {
  std::optional<std::string> exchange = read_text(headers, header::original_exchange);
  std::optional<std::string> routing_key = read_text(headers, header::original_routing_key);
  if (!exchange || !routing_key) return std::nullopt;
  return Origin{std::move(*exchange), std::move(*routing_key)};
}

}  // namespace warren::inline v0::retry
