#include "engine/stream_position.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

#include "wire/encoded_table.hpp"

namespace warren::inline v0::engine {
namespace {

constexpr const char* offset_key = "x-stream-offset";

// The length of an interval: "5m", "1h", as RabbitMQ reads them
// (https://www.rabbitmq.com/docs/streams#consuming).
std::optional<std::chrono::seconds> interval(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count < 0 || end + 1 != text.data() + text.size()) return std::nullopt;
  constexpr std::int64_t most = std::int64_t{100} * 365 * 24 * 3'600;
  std::int64_t seconds = 0;
  switch (*end) {
    case 's':
      seconds = 1;
      break;
    case 'm':
      seconds = 60;
      break;
    case 'h':
      seconds = 3'600;
      break;
    case 'D':
      seconds = 24 * 3'600;
      break;
    case 'M':
      seconds = std::int64_t{30} * 24 * 3'600;
      break;
    case 'Y':
      seconds = std::int64_t{365} * 24 * 3'600;
      break;
    default:
      return std::nullopt;
  }
  if (count > most / seconds) return std::nullopt;
  return std::chrono::seconds(count * seconds);
}

}  // namespace

FieldTable StreamPosition::arguments(Moment now) {
  FieldTable arguments = asked_;
  if (kind() == Kind::other) return arguments;
  const std::lock_guard lock(mutex_);
  const bool first = !began_;
  if (first) began_ = now;
  take_dropped();
  if (resume_) {
    arguments.set(offset_key, *resume_);
    return arguments;
  }
  if (first || !(is_stream() || asked_.contains(offset_key))) return arguments;
  // No message was received. "next" or "5m" meant a moment at the first subscription, so this moment is used
  // now. "first", "last", an offset and a timestamp keep their meaning.
  const FieldValue* asked = asked_.find(offset_key);
  const auto text = asked == nullptr ? std::optional<std::string_view>("next") : asked->as_string();
  if (!text) return arguments;
  const auto back = *text == "next" ? std::optional<std::chrono::seconds>(0) : interval(*text);
  if (back) arguments.set(offset_key, std::chrono::floor<std::chrono::seconds>(*began_ - *back));
  return arguments;
}

// Called with the lock held.
void StreamPosition::take_dropped() {
  if (dropped_) resume_ = std::min(resume_.value_or(*dropped_), *dropped_);
  dropped_.reset();
  if (resume_) latest_ = *resume_ - 1;
}

bool StreamPosition::delivered(std::uint64_t tag, const FieldTable* headers) {
  if (kind() == Kind::other || (kind() == Kind::unknown && headers == nullptr)) return false;
  std::optional<std::int64_t> offset =
      headers == nullptr ? std::nullopt : wire::integer_of(*headers, offset_key);
  const bool found = kind() == Kind::unknown;
  if (found) {
    if (!offset) {
      set_kind(Kind::other);
      return false;
    }
    set_kind(Kind::stream);
  }
  const std::lock_guard lock(mutex_);
  if (!offset && latest_) offset = *latest_ + 1;  // unreadable headers: the offset is at least this one
  if (offset) latest_ = offset;
  if (unsettled_ == Unsettled::comes_again) {
    if (offsets_.empty()) first_ = tag;
    offsets_.push_back(offset);
  }
  return found;
}

void StreamPosition::settled_below(std::uint64_t lowest_unsettled) {
  const std::lock_guard lock(mutex_);
  while (!offsets_.empty() && first_ < lowest_unsettled) {
    offsets_.pop_front();
    ++first_;
  }
}

void StreamPosition::dropped(const FieldTable& headers) {
  const std::optional<std::int64_t> offset = wire::integer_of(headers, offset_key);
  const std::lock_guard lock(mutex_);
  if (offset && (!dropped_ || *offset < *dropped_)) dropped_ = offset;
}

void StreamPosition::left(std::uint64_t lowest_unsettled) {
  if (kind() == Kind::other) return;
  settled_below(lowest_unsettled);
  const std::lock_guard lock(mutex_);
  if (!offsets_.empty()) {
    // The deliveries before the first readable one have consecutive offsets too.
    const auto before = static_cast<std::int64_t>(first_ - std::min(first_, lowest_unsettled));
    if (offsets_.front()) resume_ = std::max<std::int64_t>(*offsets_.front() - before, 0);
  } else if (latest_) {
    resume_ = *latest_ + 1;
  }
  offsets_.clear();
  take_dropped();
}

}  // namespace warren::inline v0::engine
