#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace warren::inline v0::engine {

/// The unsettled publishes of one channel in confirm mode, by their confirm number.
///
/// Numbers count from 1 on each channel (https://www.rabbitmq.com/docs/confirms). Entries stay until they are
/// settled, even if their caller gave up, so that the numbers never shift. A ring buffer, so that a steady
/// stream of publishes allocates nothing. Not thread-safe: the publisher's lock guards it.
template <typename Entry>
class ConfirmTracker {
 public:
  /// Adds the next publish and returns its number.
  std::uint64_t add(Entry entry) {
    if (count_ == ring_.size()) grow();
    const std::uint64_t tag = first_ + count_;
    slot(tag) = {std::move(entry), false};
    ++count_;
    ++outstanding_;
    return tag;
  }

  /// Calls `settled(entry)` for each publish that an ack or nack settles, in ascending order. False is a
  /// protocol error: no publish has the tag, or it was settled before. With `multiple`, tag 0 means all
  /// outstanding publishes (AMQP 0-9-1, basic.ack).
  template <typename Settled>
  bool settle(std::uint64_t tag, bool multiple, Settled&& settled) {
    if (multiple && tag == 0) tag = first_ + count_ - 1;
    if (tag < first_ || tag - first_ >= count_) return multiple && tag + 1 == first_;
    if (!multiple) {
      if (slot(tag).settled) return false;
      take(slot(tag), settled);
    } else {
      for (std::uint64_t each = first_; each <= tag; ++each) {
        if (!slot(each).settled) take(slot(each), settled);
      }
    }
    while (count_ != 0 && slot(first_).settled) {
      ++first_;
      --count_;
    }
    return true;
  }

  /// The oldest outstanding entry for which `wanted` returns true, or a null one.
  template <typename Wanted>
  Entry find(Wanted&& wanted) {
    for (std::uint64_t tag = first_; tag < first_ + count_; ++tag) {
      if (!slot(tag).settled && wanted(slot(tag).entry)) return slot(tag).entry;
    }
    return Entry();
  }

  /// Calls `function(entry)` for each outstanding publish, in ascending order.
  template <typename Function>
  void each(Function&& function) {
    for (std::uint64_t tag = first_; tag < first_ + count_; ++tag) {
      if (!slot(tag).settled) function(slot(tag).entry);
    }
  }

  /// Calls `lost(entry)` for each outstanding publish, and starts again at number 1.
  template <typename Lost>
  void reset(Lost&& lost) {
    for (std::uint64_t tag = first_; tag < first_ + count_; ++tag) {
      if (!slot(tag).settled) take(slot(tag), lost);
    }
    count_ = 0;
    first_ = 1;
  }

  [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }

 private:
  struct Slot {
    Entry entry{};
    bool settled = true;
  };

  Slot& slot(std::uint64_t tag) noexcept { return ring_[static_cast<std::size_t>(tag) & (ring_.size() - 1)]; }

  void grow() {
    constexpr std::size_t smallest = 64;  // a power of two, like every size
    std::vector<Slot> larger(ring_.empty() ? smallest : ring_.size() * 2);
    for (std::uint64_t tag = first_; tag < first_ + count_; ++tag) {
      larger[static_cast<std::size_t>(tag) & (larger.size() - 1)] = std::move(slot(tag));
    }
    ring_.swap(larger);
  }

  template <typename Function>
  void take(Slot& slot, Function&& function) {
    slot.settled = true;
    --outstanding_;
    function(slot.entry);
  }

  std::vector<Slot> ring_;   // the slot of a number is its lower bits
  std::uint64_t first_ = 1;  // the lowest number that is kept
  std::size_t count_ = 0;    // how many numbers are kept
  std::size_t outstanding_ = 0;
};

}  // namespace warren::inline v0::engine
