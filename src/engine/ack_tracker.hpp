#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace warren::inline v0::engine {

/// The deliveries of one channel (one generation of it) that are not settled on the wire yet.
///
/// Refuses to settle a tag twice, and merges acknowledgements: those that form the lower end of what is
/// outstanding go out as one `basic.ack` with `multiple`; the others one by one, since `multiple` would
/// settle what lies below them too (AMQP 0-9-1, basic.ack). Not synchronised: its channel's lock guards it.
class AckTracker {
 public:
  enum class Settlement { accepted, unknown_tag, already_settled };

  struct Ack {
    std::uint64_t delivery_tag = 0;
    bool multiple = false;
    friend bool operator==(const Ack&, const Ack&) = default;
  };

  /// The broker numbers the deliveries of a channel 1, 2, 3, …; anything else is a protocol error (false).
  bool delivered(std::uint64_t tag);

  /// Acknowledges one delivery; it goes out with the next flush.
  Settlement acknowledge(std::uint64_t tag);
  /// Acknowledges every unsettled delivery up to a tag; tag 0, which AMQP reads as "all", is an unknown tag.
  Settlement acknowledge_up_to(std::uint64_t tag);
  /// A nack or reject, which the caller sends itself, at once.
  Settlement settle(std::uint64_t tag);
  /// Everything that is unsettled, as settle(). What waits for the next flush still waits for it.
  void settle_all();

  /// Appends the acknowledgements to send, in ascending order, and forgets them.
  void flush(std::vector<Ack>& acks);

  /// Acknowledgements that the next flush sends.
  [[nodiscard]] std::size_t pending() const noexcept { return pending_; }
  /// Whether nobody settled it yet.
  [[nodiscard]] bool is_unsettled(std::uint64_t tag) const noexcept;
  /// The first delivery that nobody settled yet; if there is none, the next one's tag.
  [[nodiscard]] std::uint64_t lowest_unsettled() const noexcept;
  /// Deliveries that nobody settled yet.
  [[nodiscard]] std::size_t unsettled() const noexcept { return unsettled_; }
  /// Deliveries up to this tag that nobody settled yet. Looks at each one.
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
