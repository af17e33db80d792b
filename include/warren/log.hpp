#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// The severity of a log event, in ascending order.
enum class LogLevel : std::uint8_t {
  debug,    ///< details that help to find a fault in warren
  info,     ///< normal events, for example a recovery that has succeeded
  warning,  ///< a failure that warren handles, for example a lost connection that recovers
  error,    ///< a failure that needs attention
  none,     ///< no event has this level; as ConnectionOptions::log_level it turns the log off
};

/// An event for the log.
struct LogEvent {
  LogLevel level = LogLevel::info;  ///< the severity
  std::string text{};               ///< one line, safe to print (see printable()), without passwords
};

/// Called for each log event.
///
/// It is called on the connection's thread for events, one call at a time, never on its I/O thread. An
/// exception that it throws is dropped. No call begins after the connection's destructor has returned; a call
/// that is already running continues. If more than 1,024 events wait for a slow callback, the oldest are
/// dropped. A log event is dropped if no memory is left.
using LogCallback = std::function<void(const LogEvent&)>;

/// The name of the enumerator, for example `debug`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(LogLevel level) noexcept;

}  // namespace warren::inline v0
