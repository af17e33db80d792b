#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

namespace warren::inline v0::engine {

/// The publishes of one channel in confirm mode that the broker has not settled yet, by number.
///
/// Numbers count from 1 with each channel (https://www.rabbitmq.com/docs/confirms). Entries stay until they
/// are settled, even where their caller gave up, so that the numbering never shifts. Not synchronised: its
/// publisher's lock guards it.
template <typename Entry>
class ConfirmTracker {
 public:
  /// Adds the next publish and returns its number.
  std::uint64_t add(Entry entry) {
    slots_.push_back({std::move(entry), false});
    ++outstanding_;
    return first_ + slots_.size() - 1;
  }

  /// Calls `settled(entry)` for each publish that an ack or nack settles, in ascending order.
  /// False where the tag was never given out, or was settled before: a protocol error.
  /// With `multiple`, tag 0 means all that are outstanding (AMQP 0-9-1, basic.ack).
  template <typename Settled>
  bool settle(std::uint64_t tag, bool multiple, Settled&& settled) {
    if (multiple && tag == 0) tag = first_ + slots_.size() - 1;
    if (tag < first_ || tag - first_ >= slots_.size()) return multiple && tag + 1 == first_;
    const auto index = static_cast<std::size_t>(tag - first_);
    if (!multiple) {
      if (slots_[index].settled) return false;
      take(slots_[index], settled);
    } else {
      for (std::size_t i = 0; i <= index; ++i) {
        if (!slots_[i].settled) take(slots_[i], settled);
      }
    }
    while (!slots_.empty() && slots_.front().settled) {
      slots_.pop_front();
      ++first_;
    }
    return true;
  }

  /// Calls `lost(entry)` for all that is outstanding, and starts again at number 1.
  template <typename Lost>
  void reset(Lost&& lost) {
    for (Slot& slot : slots_) {
      if (!slot.settled) take(slot, lost);
    }
    slots_.clear();
    first_ = 1;
  }

  [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }

 private:
  struct Slot {
    Entry entry;
    bool settled;
  };

  template <typename Function>
  void take(Slot& slot, Function&& function) {
    slot.settled = true;
    --outstanding_;
    function(slot.entry);
  }

  std::deque<Slot> slots_;   // of the numbers first_, first_ + 1, …
  std::uint64_t first_ = 1;
  std::size_t outstanding_ = 0;
};

}  // namespace warren::inline v0::engine
