#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace warren::inline v0::engine {

/// A queue of pointers that never allocates if reserve() was called for its largest size. Not thread-safe.
template <typename Entry>
class SlotQueue {
 public:
  using Iterator = typename std::vector<Entry*>::iterator;
  using ConstIterator = typename std::vector<Entry*>::const_iterator;

  void reserve(std::size_t count) { entries_.reserve(count); }

  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size() - taken_; }
  [[nodiscard]] Iterator begin() noexcept { return entries_.begin() + offset(); }
  [[nodiscard]] Iterator end() noexcept { return entries_.end(); }
  [[nodiscard]] ConstIterator begin() const noexcept { return entries_.begin() + offset(); }
  [[nodiscard]] ConstIterator end() const noexcept { return entries_.end(); }
  [[nodiscard]] Entry* front() const noexcept { return entries_[taken_]; }
  [[nodiscard]] Entry* operator[](std::size_t index) const noexcept { return entries_[taken_ + index]; }

  void push_back(Entry* entry) {
    if (taken_ != 0 && entries_.size() == entries_.capacity()) clear_taken();
    entries_.push_back(entry);
  }
  void pop_front() noexcept {
    if (++taken_ == entries_.size()) clear_taken();
  }
  Iterator erase(Iterator entry) noexcept {
    if (entry != begin()) return entries_.erase(entry);
    pop_front();
    return begin();
  }
  /// Inserts `before` at the front, in its order.
  void push_front(const std::vector<Entry*>& before) {
    clear_taken();
    entries_.insert(entries_.begin(), before.begin(), before.end());
  }

 private:
  [[nodiscard]] std::ptrdiff_t offset() const noexcept { return static_cast<std::ptrdiff_t>(taken_); }
  void clear_taken() noexcept {
    entries_.erase(entries_.begin(), entries_.begin() + offset());
    taken_ = 0;
  }

  std::vector<Entry*> entries_;
  std::size_t taken_ = 0;  // from the front
};

}  // namespace warren::inline v0::engine
