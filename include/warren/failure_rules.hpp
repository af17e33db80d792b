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

/// What becomes of a message whose handler threw an exception.
struct FailureDecision {
  /// What becomes of the message.
  enum class Action : std::uint8_t {
    retry,   ///< The retry policy decides.
    park,    ///< The message is parked at once, with reason `rejected`.
    ignore,  ///< The message is acknowledged, as if the handler had returned.
  };
  Action action = Action::retry;  ///< what becomes of the message
  /// For Action::retry with a delayed policy: the shortest delay, in place of the schedule's next one. It is
  /// rounded up to the next of RetryPolicy::distinct_delays(), or down to the longest of them. The handler
  /// does not run again in place before it.
  std::optional<std::chrono::milliseconds> delay{};

  friend bool operator==(const FailureDecision&, const FailureDecision&) = default;
};

/// Its name: "retry", "park", "ignore".
[[nodiscard]] WARREN_EXPORT const char* to_string(FailureDecision::Action action) noexcept;

/// Rules for a handler's exceptions: by type first, and by a function if no type fits. They belong to a
/// consumer (ConsumerOptions::failures), not to its retry policy: a policy can be compared, functions can't.
/// Park and Undecodable keep their meaning whatever the rules say. With RetryPolicy::none() only `ignore` has
/// an effect.
///
/// ```
/// warren::FailureRules().park<std::invalid_argument>().ignore<AlreadyDone>().retry<Busy>(30s)
/// ```
class WARREN_EXPORT FailureRules {
 public:
  /// What a rule decides. `nullopt`: no rule fits, and the retry policy decides.
  using Decision = std::optional<FailureDecision>;
  /// Decides about an exception. It is called on the handler's thread.
  using Function = std::function<Decision(const std::exception_ptr&)>;

  /// An exception of type `E`, or of a class derived from it, is retried. The first rule that fits decides.
  /// @param delay  the shortest delay, in place of the schedule's next one; see FailureDecision::delay
  template <typename E>
  FailureRules& retry(std::optional<std::chrono::milliseconds> delay = {}) {
    return add(&is<E>, {FailureDecision::Action::retry, delay});
  }
  /// An exception of type `E`, or of a class derived from it, parks its message at once, with reason
  /// `rejected`. The first rule that fits decides.
  template <typename E>
  FailureRules& park() {
    return add(&is<E>, {FailureDecision::Action::park, {}});
  }
  /// An exception of type `E`, or of a class derived from it, is ignored: its message is acknowledged, as if
  /// the handler had returned. The first rule that fits decides.
  template <typename E>
  FailureRules& ignore() {
    return add(&is<E>, {FailureDecision::Action::ignore, {}});
  }
  /// The function decides if no type fits. It runs on the handler's thread. If it returns `nullopt` or throws
  /// (which is logged), the retry policy decides.
  FailureRules& otherwise(Function function) {
    function_ = std::move(function);
    return *this;
  }

  /// What the rules say of an exception. `nullopt`: the retry policy decides.
  /// @throws what the function that otherwise() was given throws
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
