#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/version.hpp>

namespace warren::inline v0 {

/// What a copy's headers say of the tries before, read so that nothing in them throws. A plain value. Any
/// publisher to the queue controls what they say: do not trust them, and print them through printable().
struct RetryInfo {
  std::int64_t attempt = 1;        ///< the number of this handler run, over all queues; 1 for an original
  std::int64_t queue_attempt = 1;  ///< the same, on this queue
  std::int64_t replays = 0;        ///< how often it was sent back from a parking lot
  std::string id{};                ///< the same on every copy; empty for an original
  std::optional<std::chrono::system_clock::time_point> first_failure{};  ///< not set: unknown
  std::optional<std::chrono::system_clock::time_point> last_failure{};   ///< likewise
  std::optional<std::chrono::system_clock::time_point> due{};            ///< when its delay was over
  std::string reason{};          ///< why the copy was made: `exception` …
  std::string error_type{};      ///< of the latest failure
  std::string error_message{};   ///< its text
  std::string original_queue{};  ///< where it failed first
};

}  // namespace warren::inline v0
