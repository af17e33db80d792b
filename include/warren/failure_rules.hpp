#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What an exception of a handler's means for its message.
struct FailureDecision {
  /// What becomes of it.
  enum class Action : std::uint8_t {
    retry,   ///< as the retry policy says
    reject,  ///< parked at once, with reason `rejected`
    ignore,  ///< acknowledged, as if the handler had returned
  };
  Action action = Action::retry;  ///< what becomes of it
  /// Of retry, with a delayed policy: that long at least, in place of the schedule's next delay; rounded up
  /// to the next of RetryPolicy::distinct_delays(), or else the longest. No runs in place come ahead of it.
  std::optional<std::chrono::milliseconds> delay{};

  friend bool operator==(const FailureDecision&, const FailureDecision&) = default;  ///< equal in all of it
};

/// What exceptions mean, by their types, and by a function where no type says. A consumer's, beside its
/// policy: functions can't be compared, and a policy is a value. Reject and Undecodable mean what they say,
/// and are not asked about. With RetryPolicy::none() only `ignore` has an effect.
///
/// ```
/// warren::FailureRules().reject<std::invalid_argument>().ignore<AlreadyDone>().retry<Busy>(30s)
/// ```
class WARREN_EXPORT FailureRules {
 public:
  /// Nothing: as the retry policy says.
  using Decision = std::optional<FailureDecision>;
  /// Decides about an exception, on the handler's thread.
  using Function = std::function<Decision(const std::exception_ptr&)>;

  /// An `E`, or what derives from it, is retried. The first rule that fits decides.
  /// @param delay  in place of the schedule's next delay, see FailureDecision::delay
  template <typename E>
  FailureRules& retry(std::optional<std::chrono::milliseconds> delay = {}) {
    return add(&is<E>, {FailureDecision::Action::retry, delay});
  }
  /// An `E`, or what derives from it, is parked at once, as Reject.
  template <typename E>
  FailureRules& reject() {
    return add(&is<E>, {FailureDecision::Action::reject, {}});
  }
  /// An `E`, or what derives from it, is acknowledged, as if the handler had returned.
  template <typename E>
  FailureRules& ignore() {
    return add(&is<E>, {FailureDecision::Action::ignore, {}});
  }
  /// Asked where no type fits, on the handler's thread. Nothing: as the policy says. So does what it throws,
  /// which is logged.
  FailureRules& otherwise(Function function) {
    function_ = std::move(function);
    return *this;
  }

  /// What they say of an exception; nothing: as the policy says.
  /// @throws what the function throws
  [[nodiscard]] Decision decide(const std::exception_ptr& error) const;

 private:
  using Test = bool (*)(const std::exception_ptr&);
  struct Rule {
    Test test = nullptr;
    FailureDecision decision{};
  };

  template <typename E>
  static bool is(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const E&) {
      return true;
    } catch (...) {
      return false;
    }
  }
  FailureRules& add(Test test, FailureDecision decision) {
    rules_.push_back({test, decision});
    return *this;
  }

  std::vector<Rule> rules_;
  Function function_;
};

/// The enumerator's name, as `retry`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(FailureDecision::Action action) noexcept;

}  // namespace warren::inline v0
