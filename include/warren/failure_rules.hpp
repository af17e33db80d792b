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

/// What the consumer does with a message whose handler threw an exception.
struct FailureDecision {
  /// What the consumer does with the message.
  enum class Action : std::uint8_t {
    retry,   ///< the retry policy decides
    park,    ///< the message is parked at once, with reason `rejected`
    ignore,  ///< the message is acknowledged, as if the handler had returned
  };
  Action action = Action::retry;  ///< what the consumer does with the message
  /// For Action::retry with a delayed policy: the shortest delay, instead of the next one of the policy. It
  /// is rounded up to the next of RetryPolicy::distinct_delays(), or down to the longest of them. The handler
  /// does not run again in place before this delay.
  std::optional<std::chrono::milliseconds> delay{};

  friend bool operator==(const FailureDecision&, const FailureDecision&) = default;
};

/// The name of the enumerator, for example `park`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(FailureDecision::Action action) noexcept;

/// Rules for the exceptions that a handler throws. The type of the exception decides first. If no type fits,
/// a function can decide.
///
/// The rules belong to a consumer (ConsumerOptions::failures), not to its retry policy, because policies can
/// be compared and functions can't. The rules do not apply to Park and Undecodable. With RetryPolicy::none()
/// only `ignore` has an effect.
///
/// ```
/// warren::FailureRules().park<std::invalid_argument>().ignore<AlreadyDone>().retry<Busy>(30s)
/// ```
class WARREN_EXPORT FailureRules {
 public:
  /// The decision of the rules. `nullopt` means that no rule fits, and the retry policy decides.
  using Decision = std::optional<FailureDecision>;
  /// Decides about an exception. The consumer calls it on the handler's thread.
  using Function = std::function<Decision(const std::exception_ptr&)>;

  /// Retries a message if its handler threw an `E` or an exception of a derived class. The first rule that
  /// fits decides.
  /// @param delay  the shortest delay, instead of the next one of the policy; see FailureDecision::delay
  template <typename E>
  FailureRules& retry(std::optional<std::chrono::milliseconds> delay = {}) {
    return add(&is<E>, {FailureDecision::Action::retry, delay});
  }
  /// Parks a message at once, with reason `rejected`, if its handler threw an `E` or an exception of a
  /// derived class. The first rule that fits decides.
  template <typename E>
  FailureRules& park() {
    return add(&is<E>, {FailureDecision::Action::park, {}});
  }
  /// Acknowledges a message, as if its handler had returned, if the handler threw an `E` or an exception of a
  /// derived class. The first rule that fits decides.
  template <typename E>
  FailureRules& ignore() {
    return add(&is<E>, {FailureDecision::Action::ignore, {}});
  }
  /// Sets the function that decides if no type fits. It runs on the handler's thread. If it returns `nullopt`
  /// or throws (which is logged), the retry policy decides.
  FailureRules& otherwise(Function function) {
    function_ = std::move(function);
    return *this;
  }

  /// The decision of the rules for an exception. `nullopt` means that the retry policy decides.
  /// @throws the exception of the function that otherwise() has set
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

}  // namespace warren::inline v0
