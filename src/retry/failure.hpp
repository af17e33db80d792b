#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>

namespace warren::inline v0::retry {

/// Why a copy was made. Its text is the header `retry-reason`.
enum class Reason : std::uint8_t {
  exception,     ///< `exception`: worth another try
  timeout,       ///< `timeout`: likewise, after ConsumerOptions::handler_timeout had passed
  rejected,      ///< `rejected`: parked at once
  undecodable,   ///< `undecodable`: likewise
  max_attempts,  ///< `max-attempts`: the last try failed too
  deadline,      ///< `deadline`: the next try would come too late
  crash,         ///< `crash`: its handler started, and never ended, as often as the crash guard allows
};

[[nodiscard]] const char* to_string(Reason reason) noexcept;
[[nodiscard]] constexpr bool is_worth_another_try(Reason reason) noexcept {
  return reason == Reason::exception || reason == Reason::timeout;
}

/// How a handler failed.
struct Failure {
  Reason reason = Reason::exception;
  std::string error_type{};     ///< the exception's type, demangled; empty for an Outcome
  std::string error_message{};  ///< as it was thrown, of any length
  std::uint32_t runs = 1;       ///< handler runs of this delivery, those in place included
  /// When the first of these runs failed; not set: now.
  std::optional<std::chrono::system_clock::time_point> first_at{};
  std::optional<std::chrono::milliseconds> delay{};  ///< of a delayed policy, in place of its schedule's
};

/// Tells what a handler threw: Undecodable, Park, another std::exception, anything else. Throws nothing but
/// std::bad_alloc.
[[nodiscard]] Failure describe(const std::exception_ptr& error, std::uint32_t runs);

}  // namespace warren::inline v0::retry
