#include "retry/circuit_breaker.hpp"

namespace warren::inline v0::retry {

bool CircuitBreaker::record(bool failed, Moment now) {
  const std::lock_guard lock(mutex_);
  if (state_ == CircuitState::open) return false;
  if (state_ == CircuitState::half_open) {
    if (failed) {
      open(now);
    } else {
      state_ = CircuitState::closed;
    }
    return true;
  }
  latest_.push_back(failed);
  if (failed) ++failures_;
  if (latest_.size() > options_.window) {
    if (latest_.front()) --failures_;
    latest_.pop_front();
  }
  if (latest_.size() < options_.window) return false;
  if (static_cast<double>(failures_) < options_.failure_share * static_cast<double>(options_.window))
    return false;
  open(now);
  return true;
}

void CircuitBreaker::open(Moment now) {
  state_ = CircuitState::open;
  probe_at_ = now + options_.pause;
  latest_.clear();
  failures_ = 0;
}

bool CircuitBreaker::probe(Moment now) {
  const std::lock_guard lock(mutex_);
  if (state_ != CircuitState::open || now < probe_at_) return false;
  state_ = CircuitState::half_open;
  return true;
}

CircuitState CircuitBreaker::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

CircuitBreaker::Moment CircuitBreaker::probe_at() const {
  const std::lock_guard lock(mutex_);
  return probe_at_;
}

}  // namespace warren::inline v0::retry
