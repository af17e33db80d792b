#include "wire/status.hpp"

#include <warren/reply_code.hpp>

#include "wire/broker_text.hpp"

namespace warren::inline v0::wire {

// An unknown exchange type is command_invalid. connection_forced and most of internal_error are transient,
// except for a feature that the broker denies. A limit of connections or channels is transient too: the
// broker may still count those that were just lost.
bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept {
  switch (code) {
    case reply_code::internal_error:
      return denies_feature(text);
    case reply_code::not_allowed:
      return !tells_limit(text);
    case reply_code::invalid_path:
    case reply_code::access_refused:
    case reply_code::command_invalid:
    case reply_code::not_implemented:
      return true;
    default:
      return false;
  }
}

// These errors are permanent until the broker or the call is changed. But a node that is down comes
// back, and a delivery that was unacknowledged for too long is redelivered.
bool is_permanent_channel_close(std::uint16_t code, std::string_view text) noexcept {
  switch (code) {
    case reply_code::not_found:
      return !is_node_down(code, text);
    case reply_code::precondition_failed:
      return !is_overdue_acknowledgement(code, text);
    case reply_code::invalid_path:
    case reply_code::access_refused:
    case reply_code::not_implemented:
      return true;
    default:
      return false;
  }
}

bool is_refused_login(std::uint16_t code) noexcept {
  return code == reply_code::access_refused || code == reply_code::not_allowed;
}

bool ends_recovery(std::uint16_t code) noexcept {
  return code == reply_code::command_invalid || code == reply_code::not_implemented ||
         code == reply_code::internal_error;
}

}  // namespace warren::inline v0::wire
