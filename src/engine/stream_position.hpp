#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include <warren/field_table.hpp>

namespace warren::inline v0::engine {

/// A consumer's position in a stream, so that it resumes after the last settled message. RabbitMQ keeps no
/// position for consumers over AMQP 0-9-1 (https://www.rabbitmq.com/docs/streams#consuming).
///
/// For a queue that is not a stream, it stores only that fact. The I/O thread reports deliveries; any thread
/// may ask.
class StreamPosition {
 public:
  enum class Kind : std::uint8_t { unknown, stream, other };
  using Moment = std::chrono::system_clock::time_point;

  /// How to treat the received but unsettled deliveries of a channel that is gone.
  enum class Unsettled : std::uint8_t {
    /// They are still handled, since no other consumer gets them. Consuming resumes at the next message.
    kept,
    /// They cannot be settled any more. Consuming resumes at the first of them.
    comes_again
  };
  /// @param arguments  the arguments of the first subscription; may contain `x-stream-offset`
  StreamPosition(FieldTable arguments, Unsettled unsettled)
      : asked_(std::move(arguments)), unsettled_(unsettled) {}

  /// Sets the kind of the queue from its declaration. If it is not set, the first delivery shows the kind.
  void set_kind(Kind kind) noexcept { kind_.store(kind, std::memory_order_release); }
  [[nodiscard]] bool is_known() const noexcept { return kind() != Kind::unknown; }
  [[nodiscard]] bool is_stream() const noexcept { return kind() == Kind::stream; }

  /// The arguments for basic.consume: first the original ones, later with the offset that was reached. Until
  /// a message is received, "next" means the time of the first call.
  [[nodiscard]] FieldTable arguments(Moment now);

  /// Records a delivery; `headers` is null if they are unreadable. True if this delivery is the first that
  /// shows the queue to be a stream.
  bool delivered(std::uint64_t tag, const FieldTable* headers);
  /// No delivery below this tag is unsettled.
  void settled_below(std::uint64_t lowest_unsettled);
  /// Records that a delivery was dropped and must be consumed again.
  void dropped(const FieldTable& headers);
  /// Records that the channel is gone. Another channel will resume.
  void left(std::uint64_t lowest_unsettled);

 private:
  void take_dropped();
  [[nodiscard]] Kind kind() const noexcept { return kind_.load(std::memory_order_acquire); }

  const FieldTable asked_;
  const Unsettled unsettled_;
  std::atomic<Kind> kind_{Kind::unknown};
  mutable std::mutex mutex_;
  std::optional<Moment> began_;
  std::optional<std::int64_t> resume_;               // the offset to resume at, once a channel is gone
  std::optional<std::int64_t> latest_;               // the latest received offset
  std::optional<std::int64_t> dropped_;              // the lowest dropped offset
  std::deque<std::optional<std::int64_t>> offsets_;  // of the tags first_, first_ + 1, …
  std::uint64_t first_ = 1;
};

}  // namespace warren::inline v0::engine
