#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>

namespace warren::inline v0::retry {

/// Why a copy was made. Its text is the header `retry-reason`.
enum class Reason : std::uint8_t {
  exception,    ///< `exception`: the handler failed, and another attempt may succeed
  timeout,      ///< `timeout`: the handler failed after ConsumerOptions::handler_timeout; another attempt may
                ///< succeed
  rejected,     ///< `rejected`: the handler or a rule asked for parking; no other attempt
  undecodable,  ///< `undecodable`: the message could not be decoded; no other attempt
  max_attempts,  ///< `max-attempts`: the last attempt failed
  deadline,      ///< `deadline`: the next attempt would be after the deadline
  crash,         ///< `crash`: the starts that never ended reached the limit of the crash guard
};

/// The text of a reason, as the header `retry-reason` has it.
[[nodiscard]] const char* to_string(Reason reason) noexcept;
/// Whether another attempt may succeed.
[[nodiscard]] constexpr bool is_worth_another_try(Reason reason) noexcept {
  return reason == Reason::exception || reason == Reason::timeout;
}

/// Describes how a handler failed.
struct Failure {
  Reason reason = Reason::exception;
  std::string error_type{};     ///< the exception's type, demangled; empty for an Outcome
  std::string error_message{};  ///< the exception's text, of any length
  std::uint32_t runs = 1;       ///< the number of handler runs of this delivery, including those in place
  /// When the first of these runs failed. Not set means now.
  std::optional<std::chrono::system_clock::time_point> first_at{};
  /// For a delayed policy: replaces the delay of its schedule.
  std::optional<std::chrono::milliseconds> delay{};
};

/// Describes the exception of a handler: Undecodable, Park, another std::exception, or anything else. Throws
/// nothing but std::bad_alloc.
[[nodiscard]] Failure describe(const std::exception_ptr& error, std::uint32_t runs);

}  // namespace warren::inline v0::retry
