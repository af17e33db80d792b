#include "faults/ledger.hpp"

#include <algorithm>
#include <charconv>

namespace faults {

void Ledger::reserve(std::size_t messages) {
  const std::lock_guard lock(mutex_);
  const std::size_t before = entries_.size();
  entries_.resize(before + messages);  // touches it, which reserve() alone does not
  entries_.resize(before);
}

std::uint64_t Ledger::begin() {
  const std::lock_guard lock(mutex_);
  entries_.emplace_back();
  return entries_.size() - 1;
}

void Ledger::end(std::uint64_t number, Clock::time_point since, End end) {
  Entry& entry = entries_.at(number);
  entry.end = end;
  ++entry.ends;
  if (end == End::confirmed && entry.handled == 0) ++missing_;
  longest_ = std::max(longest_, std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since));
}

void Ledger::confirmed(std::uint64_t number, Clock::time_point since) {
  const std::lock_guard lock(mutex_);
  end(number, since, End::confirmed);
}

void Ledger::failed(std::uint64_t number, Clock::time_point since, const warren::Error& error) {
  const std::lock_guard lock(mutex_);
  const bool nacked = dynamic_cast<const warren::NackedError*>(&error) != nullptr;
  end(number, since, nacked ? End::nacked : error.in_doubt() ? End::in_doubt : End::not_sent);
  ++failures_[error.what()];
}

bool Ledger::handled(std::string_view body) {
  std::uint64_t number = 0;
  const auto [rest, fault] = std::from_chars(body.data(), body.data() + body.size(), number);
  const std::lock_guard lock(mutex_);
  if (fault != std::errc() || rest != body.data() + body.size() || number >= entries_.size()) return false;
  Entry& entry = entries_[number];
  if (entry.handled++ == 0 && entry.end == End::confirmed) --missing_;
  return true;
}

std::size_t Ledger::published() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::size_t Ledger::missing() const {
  const std::lock_guard lock(mutex_);
  return missing_;
}

std::map<std::string, std::size_t> Ledger::failures() const {
  const std::lock_guard lock(mutex_);
  return failures_;
}

Ledger::Totals Ledger::totals() const {
  const std::lock_guard lock(mutex_);
  Totals totals{.published = entries_.size(), .longest_publish = longest_};
  for (const Entry& entry : entries_) {
    totals.confirmed += entry.end == End::confirmed;
    totals.nacked += entry.end == End::nacked;
    totals.in_doubt += entry.end == End::in_doubt;
    totals.not_sent += entry.end == End::not_sent;
    totals.open += entry.ends == 0;
    totals.twice += entry.ends > 1;
    totals.lost += entry.end == End::confirmed && entry.handled == 0;
    totals.conjured += entry.end == End::not_sent && entry.handled != 0;
    totals.handled += entry.handled != 0;
    totals.duplicates += entry.handled > 1 ? entry.handled - 1 : 0;
  }
  return totals;
}

}  // namespace faults
