#include "engine/backoff.hpp"

#include <algorithm>

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;
constexpr auto early = 60s;

// Limits the times to a century: the clock must be able to represent them, even when they are doubled.
RecoveryOptions within_a_century(RecoveryOptions options) {
  constexpr std::chrono::milliseconds longest = std::chrono::years(100);
  for (auto* each :
       {&options.initial_delay, &options.early_max_delay, &options.max_delay, &options.stable_after})
    *each = std::min(*each, longest);
  if (options.give_up_after) options.give_up_after = std::min(*options.give_up_after, longest);
  return options;
}

}  // namespace

Backoff::Backoff(const RecoveryOptions& options, std::uint64_t seed)
    : options_(within_a_century(options)), random_(seed) {}

void Backoff::connected(Clock::time_point now) noexcept { connected_at_ = now; }

void Backoff::lost(Clock::time_point now) noexcept {
  lost_at_ = now;
  if (outage_at_ != Clock::time_point{} && now - connected_at_ < options_.stable_after) return;
  delay_ = 0ms;
  tries_ = 0;
  outage_at_ = now;
}

std::optional<std::chrono::milliseconds> Backoff::next(Clock::time_point now) {
  if (options_.max_tries && tries_ >= *options_.max_tries) return std::nullopt;
  if (options_.give_up_after && now - outage_at_ >= *options_.give_up_after) return std::nullopt;
  ++tries_;
  const auto most =
      now - lost_at_ < early ? std::min(options_.early_max_delay, options_.max_delay) : options_.max_delay;
  delay_ = std::min(delay_ == 0ms ? options_.initial_delay : delay_ * 2, most);
  std::uniform_int_distribution<std::int64_t> chance(delay_.count() / 2, delay_.count());
  auto pause = std::chrono::milliseconds(chance(random_));
  if (options_.give_up_after) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(outage_at_ + *options_.give_up_after - now);
    pause = std::min(pause, left);
  }
  return pause;
}

}  // namespace warren::inline v0::engine
