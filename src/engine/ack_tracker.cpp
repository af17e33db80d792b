#include "engine/ack_tracker.hpp"

#include <algorithm>
#include <utility>

namespace warren::inline v0::engine {

bool AckTracker::delivered(std::uint64_t tag) {
  if (tag != first_ + states_.size()) return false;
  states_.push_back(State::unsettled);
  ++unsettled_;
  return true;
}

bool AckTracker::is_unsettled(std::uint64_t tag) const noexcept {
  const State* state = find(tag);
  return state != nullptr && *state == State::unsettled;
}

std::size_t AckTracker::unsettled_up_to(std::uint64_t tag) const noexcept {
  if (tag < first_) return 0;
  const auto looked_at = std::min<std::uint64_t>(tag - first_ + 1, states_.size());
  const auto end = states_.begin() + static_cast<std::ptrdiff_t>(looked_at);
  return static_cast<std::size_t>(std::count(states_.begin(), end, State::unsettled));
}

AckTracker::State* AckTracker::find(std::uint64_t tag) noexcept {
  return const_cast<State*>(std::as_const(*this).find(tag));
}

const AckTracker::State* AckTracker::find(std::uint64_t tag) const noexcept {
  if (tag < first_ || tag - first_ >= states_.size()) return nullptr;
  return &states_[static_cast<std::size_t>(tag - first_)];
}

AckTracker::Settlement AckTracker::acknowledge(std::uint64_t tag) {
  State* state = find(tag);
  // A tag below first_ was settled and forgotten. Tag 0 never belongs to a delivery.
  if (state == nullptr)
    return tag != 0 && tag < first_ ? Settlement::already_settled : Settlement::unknown_tag;
  if (*state != State::unsettled) return Settlement::already_settled;
  *state = State::pending;
  --unsettled_;
  ++pending_;
  return Settlement::accepted;
}

AckTracker::Settlement AckTracker::acknowledge_up_to(std::uint64_t tag) {
  const Settlement result = acknowledge(tag);
  if (result != Settlement::accepted) return result;
  for (std::uint64_t below = first_; below < tag; ++below) {
    if (*find(below) == State::unsettled) acknowledge(below);
  }
  return result;
}

AckTracker::Settlement AckTracker::settle(std::uint64_t tag) {
  const Settlement result = acknowledge(tag);
  if (result != Settlement::accepted) return result;
  *find(tag) = State::settled;
  --pending_;
  drop_settled_front();
  return result;
}

void AckTracker::settle_all() {
  for (State& state : states_) {
    if (state == State::unsettled) state = State::settled;
  }
  unsettled_ = 0;
  drop_settled_front();
}

std::uint64_t AckTracker::lowest_unsettled() const noexcept {
  const auto found = std::find(states_.begin(), states_.end(), State::unsettled);
  return first_ + static_cast<std::uint64_t>(found - states_.begin());
}

void AckTracker::flush(std::vector<Ack>& acks) {
  if (pending_ == 0) return;
  std::uint64_t last_of_prefix = 0;
  std::size_t merged = 0;
  while (!states_.empty() && states_.front() != State::unsettled) {
    if (states_.front() == State::pending) {
      last_of_prefix = first_;
      ++merged;
      --pending_;
    }
    states_.pop_front();
    ++first_;
  }
  if (merged != 0) acks.push_back({last_of_prefix, merged > 1});
  for (std::size_t i = 0; pending_ != 0; ++i) {
    if (states_[i] != State::pending) continue;
    states_[i] = State::settled;
    --pending_;
    acks.push_back({first_ + i, false});
  }
}

void AckTracker::drop_settled_front() {
  while (!states_.empty() && states_.front() == State::settled) {
    states_.pop_front();
    ++first_;
  }
}

}  // namespace warren::inline v0::engine
