#include <warren/failure_rules.hpp>

namespace warren::inline v0 {

FailureRules::Decision FailureRules::decide(const std::exception_ptr& error) const {
  if (error == nullptr) return std::nullopt;
  for (const Rule& rule : rules_) {
    if (rule.test(error)) return rule.decision;
  }
  return function_ ? function_(error) : std::nullopt;
}

}  // namespace warren::inline v0
