#include "consumer/circuit_breaker.hpp"

#include "engine/deadline.hpp"

namespace warren::inline v0::consumer {

std::uint64_t CircuitBreaker::epoch() const {
  const std::lock_guard lock(mutex_);
  return epoch_;
}

bool CircuitBreaker::record(bool failed, std::uint64_t epoch, Moment now) {
  const std::lock_guard lock(mutex_);
  if (state_ == CircuitState::open || epoch != epoch_) return false;
  if (state_ == CircuitState::half_open) {
    if (failed) {
      open(now);
    } else {
      enter(CircuitState::closed);
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

void CircuitBreaker::reset() {
  const std::lock_guard lock(mutex_);
  enter(CircuitState::closed);
}

void CircuitBreaker::enter(CircuitState state) {
  state_ = state;
  ++epoch_;
  latest_.clear();
  failures_ = 0;
}

void CircuitBreaker::open(Moment now) {
  enter(CircuitState::open);
  probe_at_ = engine::deadline_after(options_.pause, now);
}

bool CircuitBreaker::probe(Moment now) {
  const std::lock_guard lock(mutex_);
  if (state_ != CircuitState::open || now < probe_at_) return false;
  enter(CircuitState::half_open);
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

}  // namespace warren::inline v0::consumer
