#include "retry/copy.hpp"

#include <algorithm>
#include <limits>
#include <random>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

#include "retry/headers.hpp"
#include "retry/read.hpp"
#include "retry/text.hpp"

namespace warren::inline v0::retry {
namespace {

using Milliseconds = std::chrono::milliseconds;

// The number of handler runs on the delivery's queue, including the `runs` of this delivery.
std::int64_t attempts_here(const FieldTable& headers, std::uint32_t runs) noexcept {
  return add(read_count(headers, header::queue_attempt).value_or(0), runs);
}

std::int64_t to_ms(std::chrono::system_clock::time_point moment) noexcept {
  return std::chrono::duration_cast<Milliseconds>(moment.time_since_epoch()).count();
}

// When the message failed for the first time, at most `now`.
std::int64_t first_failure(const FieldTable& headers, const Failure& failure, std::int64_t now) noexcept {
  const std::int64_t here = failure.first_at ? to_ms(*failure.first_at) : now;
  return std::min(read_count(headers, header::first_failure_at).value_or(here), now);
}

// Whether an attempt at `next_try` would be after the policy's deadline.
bool is_past_deadline(const RetryPolicy& policy, std::int64_t first, std::int64_t next_try) noexcept {
  const auto& deadline = policy.options().deadline;
  return deadline && next_try - first > deadline->count();
}

// The delay that the failure asks for, or else the delay that follows this number of handler runs on the
// queue.
Milliseconds delay_after(const RetryPolicy& policy, std::int64_t runs, const Failure& failure) noexcept {
  if (failure.delay) {
    const auto& delays = policy.distinct_delays();
    const auto next = std::ranges::lower_bound(delays, *failure.delay);
    return next == delays.end() ? delays.back() : *next;
  }
  const auto& schedule = policy.schedule();
  const std::int64_t runs_a_copy = std::int64_t{policy.options().runs_in_place} + 1;
  const auto copies_before = static_cast<std::uint64_t>(std::max<std::int64_t>(runs - 1, 0) / runs_a_copy);
  return schedule[static_cast<std::size_t>(std::min<std::uint64_t>(copies_before, schedule.size() - 1))];
}

// Shortens the delay by a random part. It is never longer than the delay of its wait queue, because the
// messages behind it would be late.
Milliseconds jittered(Milliseconds delay, double jitter) {
  if (jitter <= 0) return delay;
  thread_local std::mt19937_64 random{std::random_device{}()};
  const auto most = static_cast<Milliseconds::rep>(static_cast<double>(delay.count()) * jitter);
  return delay - Milliseconds(std::uniform_int_distribution<Milliseconds::rep>(0, most)(random));
}

bool is_stripped(std::string_view key) noexcept {
  const auto is_prefix = [&](std::string_view prefix) { return key.starts_with(prefix); };
  return std::ranges::find(header::stripped, key) != header::stripped.end() ||
         std::ranges::any_of(header::stripped_prefixes, is_prefix);
}

void append_text(FieldTable& out, std::string_view key, std::string_view text, std::size_t limit) {
  if (!text.empty()) out.append(std::string(key), to_utf8(text, limit));
}

// Appends the headers that describe the original message. Values of the first failure stay, because a handler
// or a replay of a later copy needs those of the original.
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

// The attempts of a failed message so far, and the time of the next one. Times are in milliseconds since
// 1970.
struct Attempt {
  std::int64_t runs_here = 0;  // handler runs on the delivery's queue
  std::int64_t now = 0;
  std::int64_t first_failure = 0;
  Milliseconds bucket{0};  // the delay of its wait queue; 0 means that the policy has none
  Milliseconds delay{0};   // `bucket` minus the jitter

  [[nodiscard]] std::int64_t due() const noexcept { return now + delay.count(); }
};

Attempt attempt_of(const RetryPolicy& policy, const FieldTable& headers, const Failure& failure,
                   std::chrono::system_clock::time_point now) {
  Attempt attempt{.runs_here = attempts_here(headers, failure.runs), .now = to_ms(now)};
  attempt.first_failure = first_failure(headers, failure, attempt.now);
  if (policy.shape() != RetryPolicy::Shape::delayed) return attempt;
  attempt.bucket = delay_after(policy, attempt.runs_here, failure);
  attempt.delay = jittered(attempt.bucket, policy.options().jitter);
  return attempt;
}

// The failure's own reason if the message gets another attempt, or else why it is parked.
Reason reason_of(const RetryPolicy& policy, const Attempt& attempt, Reason failure) noexcept {
  if (!is_worth_another_try(failure)) return failure;
  if (attempt.runs_here >= policy.options().max_attempts) return Reason::max_attempts;
  if (is_past_deadline(policy, attempt.first_failure, attempt.due())) return Reason::deadline;
  return policy.shape() == RetryPolicy::Shape::immediate ? Reason::max_attempts : failure;
}

std::string destination(const RetryPolicy& policy, const std::string& queue, const Attempt& attempt,
                        bool parked) {
  if (parked) return policy.parked_queue(queue);
  const bool delayed = policy.shape() == RetryPolicy::Shape::delayed;
  return delayed ? RetryPolicy::wait_queue(queue, attempt.bucket) : policy.queue();
}

// The id of the message's first copy, or else its message id, or else a new id.
std::string id_of(const Delivery& delivery) {
  if (auto id = read_name(delivery.headers(), header::id)) return std::move(*id);
  const auto& id = delivery.properties().message_id;
  return id && !id->empty() ? *id : random_uuid();
}

// The headers of a copy, in the order of header::written.
FieldTable headers_of(const Copy& copy, const RetryPolicy& policy, const std::string& queue,
                      const Delivery& delivery, const Failure& failure, const Attempt& attempt,
                      const std::string& host) {
  const FieldTable& before = delivery.headers();
  const bool delayed = policy.shape() == RetryPolicy::Shape::delayed;
  const bool same_queue = copy.parked || delayed || copy.queue == queue;
  FieldTable headers = kept_headers(before, header::written);
  const auto append = [&](std::string_view key, FieldValue value) {
    headers.append(std::string(key), std::move(value));
  };
  append(header::id, id_of(delivery));
  append(header::attempt, add(read_count(before, header::attempt).value_or(0), failure.runs));
  append(header::queue_attempt, same_queue ? attempt.runs_here : std::int64_t{0});
  append(header::first_failure_at, attempt.first_failure);
  append(header::last_failure_at, attempt.now);
  if (delayed && !copy.parked) append(header::due_at, attempt.due());
  append(header::reason, to_string(copy.reason));
  append_text(headers, header::error_type, failure.error_type, header::longest_text);
  append_text(headers, header::error_message, failure.error_message, header::longest_message);
  append_original(headers, queue, delivery);
  append_text(headers, header::host, host, header::longest_text);
  const std::string& name = policy.options().name;
  append_text(headers, header::policy, name.empty() ? to_string(policy) : name, header::longest_text);
  return headers;
}

}  // namespace

Copy make_copy(const RetryPolicy& policy, const std::string& queue, const Delivery& delivery,
               const Failure& failure, std::chrono::system_clock::time_point now, const std::string& host) {
  if (policy.shape() == RetryPolicy::Shape::none) {
    throw InvalidArgument(
        {.operation = "retry", .text = "the policy none makes no copies", .permanent = true});
  }
  const Attempt attempt = attempt_of(policy, delivery.headers(), failure, now);
  Copy copy{.message = delivery.message(), .reason = reason_of(policy, attempt, failure.reason)};
  copy.parked = !is_worth_another_try(copy.reason);
  copy.queue = destination(policy, queue, attempt, copy.parked);

  Properties& properties = copy.message.properties();
  properties.delivery_mode = DeliveryMode::persistent;
  properties.expiration.reset();
  if (!copy.parked && attempt.delay < attempt.bucket) properties.expiration = attempt.delay;
  properties.user_id.reset();
  properties.headers = headers_of(copy, policy, queue, delivery, failure, attempt, host);
  return copy;
}

bool run_again_in_place(const RetryPolicy& policy, const Delivery& delivery, const Failure& failure,
                        std::chrono::system_clock::time_point now) noexcept {
  if (policy.shape() == RetryPolicy::Shape::none || !is_worth_another_try(failure.reason)) return false;
  if (policy.shape() != RetryPolicy::Shape::immediate && failure.runs > policy.options().runs_in_place)
    return false;
  if (failure.delay && policy.shape() == RetryPolicy::Shape::delayed) return false;
  const std::int64_t moment = to_ms(now);
  if (is_past_deadline(policy, first_failure(delivery.headers(), failure, moment), moment)) return false;
  return attempts_here(delivery.headers(), failure.runs) < policy.options().max_attempts;
}

FieldTable kept_headers(const FieldTable& headers, std::span<const std::string_view> but) {
  FieldTable kept;
  for (const FieldEntry& entry : headers) {
    if (is_stripped(entry.key) || std::ranges::find(but, entry.key) != but.end()) continue;
    kept.append(entry.key, entry.value);
  }
  return kept;
}

std::string_view drop_least_needed(FieldTable& headers, bool rests) {
  const auto drop = [&](std::span<const std::string_view> keys) -> std::string_view {
    for (const std::string_view key : keys) {
      if (headers.erase(key)) return key;
    }
    return {};
  };
  const std::string_view dropped = drop(header::droppable);
  return dropped.empty() && rests ? drop(header::droppable_at_rest) : dropped;
}

std::string_view shrink(Copy& copy) {
  Properties& properties = copy.message.properties();
  const std::string_view dropped = drop_least_needed(properties.headers, copy.parked);
  if (!dropped.empty() || copy.parked || copy.park_in.empty()) return dropped;
  copy.queue = copy.park_in;
  copy.parked = true;
  properties.expiration.reset();
  if (copy.suspect) restore_priority(properties);
  return "a place to be tried again from";
}

void restore_priority(Properties& properties) {
  const std::optional<std::int64_t> priority = read_count(properties.headers, header::original_priority);
  properties.priority.reset();
  if (priority && *priority <= std::numeric_limits<std::uint8_t>::max())
    properties.priority = static_cast<std::uint8_t>(*priority);
  properties.headers.erase(header::original_priority);
}

void put_headers(Properties& properties, FieldTable headers, std::optional<std::int64_t> expiration,
                 std::optional<FieldArray> cc) {
  const auto set_once = [&](std::string_view key, FieldValue value) {
    if (!headers.contains(key)) headers.append(std::string(key), std::move(value));
  };
  if (expiration) set_once(header::original_expiration, *expiration);
  if (properties.user_id) set_once(header::original_user_id, std::move(*properties.user_id));
  if (cc) set_once(header::original_cc, std::move(*cc));
  properties.headers = std::move(headers);
  properties.delivery_mode = DeliveryMode::persistent;
  properties.expiration.reset();
  properties.user_id.reset();
}

std::optional<Origin> original_address(const FieldTable& headers) {
  std::optional<std::string> exchange = read_text(headers, header::original_exchange);
  std::optional<std::string> routing_key = read_text(headers, header::original_routing_key);
  if (!exchange || !routing_key) return std::nullopt;
  return Origin{std::move(*exchange), std::move(*routing_key)};
}

}  // namespace warren::inline v0::retry
