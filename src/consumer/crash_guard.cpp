#include "consumer/crash_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/delivery_access.hpp"
#include "retry/headers.hpp"
#include "retry/read.hpp"
#include "retry/text.hpp"

namespace warren::inline v0::consumer {

using namespace retry;
namespace {

constexpr std::uint8_t first = 1;  // the suspect queue's highest priority

std::int64_t starts_of(const FieldTable& headers) noexcept {
  return read_count(headers, header::crash_count).value_or(0);
}

}  // namespace

std::string suspect_queue(const std::string& queue, const CrashGuardOptions& options) {
  return options.suspect_queue.empty() ? queue + "_suspect" : options.suspect_queue;
}

CrashGuard::CrashGuard(std::string queue, const CrashGuardOptions& options, std::string instance)
    : queue_(std::move(queue)),
      suspect_queue_(consumer::suspect_queue(queue_, options)),
      limit_(options.limit),
      instance_(std::move(instance)) {}

std::string CrashGuard::started_by() const { return fmt::format("{}/{}", instance_, generation_.load()); }

CrashGuard::Step CrashGuard::step(const Delivery& delivery) const {
  const std::string by = read_name(delivery.headers(), header::started_by).value_or("");
  if (by.empty()) return Step::record;
  if (!delivery.redelivered()) return Step::handle;
  // This process lives, so none of its handlers crashed it. If this consumer has subscribed again since the
  // start was recorded, the broker redelivered a message that was in flight. Otherwise another consumer had
  // the message, and died.
  const bool own = by.starts_with(instance_ + "/");
  if (own && by != started_by()) return Step::handle;
  return starts_of(delivery.headers()) >= limit_ ? Step::park : Step::record;
}

Copy CrashGuard::copy(const Delivery& delivery, std::int64_t starts, bool recorded) const {
  Copy copy{.queue = suspect_queue_, .message = delivery.message(), .suspect = true};
  Properties& properties = copy.message.properties();
  const FieldTable before = std::move(properties.headers);
  FieldTable headers = kept_headers(before);
  // Keeps the values that make_copy() would read from the original.
  if (!read_name(before, header::original_queue)) headers.set(header::original_queue, queue_);
  if (!original_address(before)) {
    headers.set(header::original_exchange, delivery.exchange());
    headers.set(header::original_routing_key, delivery.routing_key());
  }
  std::optional<std::int64_t> expiration;
  if (properties.expiration) expiration = properties.expiration->count();
  put_headers(properties, std::move(headers), expiration, read_texts(before, "CC"));
  if (starts > 0) properties.headers.set(header::crash_count, starts);
  if (recorded) properties.headers.set(header::started_by, started_by());
  properties.priority = recorded ? first : std::uint8_t{0};
  return copy;
}

Copy CrashGuard::suspect(const Delivery& delivery) const {
  Copy suspect = copy(delivery, 0, false);
  FieldTable& headers = suspect.message.properties().headers;
  headers.erase(header::original_priority);  // written by another program
  if (delivery.properties().priority)
    headers.set(header::original_priority, std::int64_t{*delivery.properties().priority});
  return suspect;
}

Copy CrashGuard::record(const Delivery& delivery) const {
  return copy(delivery, std::min<std::int64_t>(starts_of(delivery.headers()), limit_) + 1, true);
}

Copy CrashGuard::take_back(const Delivery& delivery) const {
  return copy(delivery, std::max<std::int64_t>(starts_of(delivery.headers()) - 1, 0), false);
}

Copy CrashGuard::clear(const Delivery& delivery) const {
  Copy cleared = copy(delivery, 0, false);
  cleared.queue = queue_;
  cleared.suspect = false;
  cleared.message.properties().priority = delivery.properties().priority;
  return cleared;
}

Failure CrashGuard::crash(const Delivery& delivery) {
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  const std::int64_t starts = std::min(starts_of(delivery.headers()), most);
  return {.reason = Reason::crash,
          .error_message = fmt::format("the handler started {} times and never ended", starts),
          .runs = static_cast<std::uint32_t>(starts)};
}

void CrashGuard::restore(Delivery& delivery) {
  restore_priority(engine::DeliveryAccess::message(delivery).properties());
}

}  // namespace warren::inline v0::consumer
