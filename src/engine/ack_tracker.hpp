#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace warren::inline v0::engine {

/// The deliveries of one channel (one generation of it) that are not settled on the wire yet.
///
/// It refuses to settle a tag twice, and it merges acknowledgements. Those at the lower end of the
/// outstanding tags go out as one `basic.ack` with `multiple`. The others go out one by one, since `multiple`
/// would also settle the tags below them (AMQP 0-9-1, basic.ack). Not thread-safe: the channel's lock guards
/// it.
class AckTracker {
 public:
  enum class Settlement { accepted, unknown_tag, already_settled };

  struct Ack {
    std::uint64_t delivery_tag = 0;
    bool multiple = false;
    friend bool operator==(const Ack&, const Ack&) = default;
  };

  /// Records a delivery. False is a protocol error: the broker must number a channel's deliveries 1, 2, 3, …
  bool delivered(std::uint64_t tag);

  /// Acknowledges one delivery; it goes out with the next flush.
  Settlement acknowledge(std::uint64_t tag);
  /// Acknowledges every unsettled delivery up to a tag. Tag 0, which means "all" in AMQP, counts as an
  /// unknown tag.
  Settlement acknowledge_up_to(std::uint64_t tag);
  /// Settles one delivery by a nack or reject. The caller sends that itself, at once.
  Settlement settle(std::uint64_t tag);
  /// Settles every unsettled delivery, as settle() does one. Pending acknowledgements still wait for the next
  /// flush.
  void settle_all();

  /// Appends the acknowledgements to send, in ascending order, and forgets them.
  void flush(std::vector<Ack>& acks);

  /// How many acknowledgements the next flush sends.
  [[nodiscard]] std::size_t pending() const noexcept { return pending_; }
  /// Whether the delivery is not settled yet.
  [[nodiscard]] bool is_unsettled(std::uint64_t tag) const noexcept;
  /// The lowest unsettled delivery tag. If every delivery is settled, the tag of the next one.
  [[nodiscard]] std::uint64_t lowest_unsettled() const noexcept;
  /// How many deliveries are unsettled.
  [[nodiscard]] std::size_t unsettled() const noexcept { return unsettled_; }
  /// How many deliveries up to this tag are unsettled. The cost grows with their number.
  [[nodiscard]] std::size_t unsettled_up_to(std::uint64_t tag) const noexcept;

 private:
  enum class State : std::uint8_t { unsettled, pending, settled };

  [[nodiscard]] const State* find(std::uint64_t tag) const noexcept;
  [[nodiscard]] State* find(std::uint64_t tag) noexcept;
  void drop_settled_front();

  std::deque<State> states_;  // of the tags first_, first_ + 1, …
  std::uint64_t first_ = 1;
  std::size_t pending_ = 0;
  std::size_t unsettled_ = 0;
};

}  // namespace warren::inline v0::engine
