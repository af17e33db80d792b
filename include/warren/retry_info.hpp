#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <warren/version.hpp>

namespace warren::inline v0 {

/// What the headers of a delivery say about its earlier attempts (Delivery::retry). A plain value.
///
/// Reading them never throws: a header that is missing or of the wrong type counts as absent. Any publisher
/// to the queue controls these values. Do not trust them, and print them through printable().
struct RetryInfo {
  std::int64_t attempt = 1;        ///< the number of this handler run, over all queues; 1 for an original
  std::int64_t queue_attempt = 1;  ///< the number of this handler run on this queue
  std::int64_t replays = 0;        ///< how often the message was replayed from a parking lot
  std::string id{};                ///< identifies all copies of one message; empty for an original
  std::optional<std::chrono::system_clock::time_point> first_failure{};  ///< when it first failed, if known
  std::optional<std::chrono::system_clock::time_point> last_failure{};   ///< when it last failed, if known
  std::optional<std::chrono::system_clock::time_point> due{};  ///< when its delay ended, if it had one
  std::string reason{};          ///< why the copy was made, for example `exception` or `timeout`
  std::string error_type{};      ///< the type of the latest exception
  std::string error_message{};   ///< the text of the latest exception
  std::string original_queue{};  ///< the queue on which the message first failed
};

}  // namespace warren::inline v0
