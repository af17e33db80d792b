#include "engine/backoff.hpp"

#include <algorithm>

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;
constexpr auto early = 60s;

}  // namespace

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
