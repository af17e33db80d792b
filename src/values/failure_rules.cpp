#include <warren/failure_rules.hpp>

namespace warren::inline v0 {

FailureRules::Decision FailureRules::decide(const std::exception_ptr& error) const {
  if (error == nullptr) return std::nullopt;
  for (const Rule& rule : rules_) {
    if (rule.test(error)) return rule.decision;
  }
  return function_ ? function_(error) : std::nullopt;
}

const char* to_string(FailureDecision::Action action) noexcept {
  switch (action) {
    case FailureDecision::Action::retry:
      return "retry";
    case FailureDecision::Action::park:
      return "park";
    case FailureDecision::Action::ignore:
      return "ignore";
  }
  return "unknown";
}

}  // namespace warren::inline v0
