#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// How much an event matters, ascending.
enum class LogLevel : std::uint8_t {
  debug,    ///< for those who look for a fault in warren
  info,     ///< what happened as it should
  warning,  ///< what went wrong, and is tried again
  error,    ///< what went wrong, and needs somebody
  none,     ///< no event has this level: as ConnectionOptions::log_level it turns the log off
};

/// One thing that happened, for people to read.
struct LogEvent {
  LogLevel level = LogLevel::info;  ///< how much it matters
  std::string text{};               ///< one line, safe to print (see printable()), with no password in it
};

/// Called with each log event.
///
/// It is called on a thread of the connection's for events, one call at a time, never on its I/O thread. What
/// it throws is dropped. No call begins after the connection's destructor has returned; a call that runs then
/// goes on. If more than 1,024 events wait for a slow callback, the oldest are dropped. A log event is
/// dropped if no memory is left.
using LogCallback = std::function<void(const LogEvent&)>;

/// `debug`, `info`, `warning`, `error`, `none`.
[[nodiscard]] WARREN_EXPORT const char* to_string(LogLevel level) noexcept;

}  // namespace warren::inline v0
