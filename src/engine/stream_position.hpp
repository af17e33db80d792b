#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include <warren/field_table.hpp>

namespace warren::inline v0::engine {

/// How far a consumer has come in a stream, so that it resumes behind what it settled: RabbitMQ keeps no
/// position for a consumer over AMQP 0-9-1 (https://www.rabbitmq.com/docs/streams#consuming).
///
/// Of a queue that is no stream it knows that alone, and costs a branch. The I/O thread tells what comes; any
/// thread asks.
class StreamPosition {
 public:
  enum class Kind : std::uint8_t { unknown, stream, other };
  using Moment = std::chrono::system_clock::time_point;

  /// What a delivery that was received and is not settled means once its channel is gone.
  enum class Unsettled : std::uint8_t {
    kept,        ///< it is handled all the same, as nobody else gets it: on with the next one
    comes_again  ///< nobody can settle it any more: on with the first of them
  };
  /// @param arguments  what is consumed with at first; `x-stream-offset` may be among them
  StreamPosition(FieldTable arguments, Unsettled unsettled)
      : asked_(std::move(arguments)), unsettled_(unsettled) {}

  /// What was declared; the first delivery tells if nobody knows.
  void set_kind(Kind kind) noexcept { kind_.store(kind, std::memory_order_release); }
  [[nodiscard]] bool is_known() const noexcept { return kind() != Kind::unknown; }
  [[nodiscard]] bool is_stream() const noexcept { return kind() == Kind::stream; }

  /// The arguments to consume with now: those of the beginning, then with the offset that was reached. The
  /// moment of the first call stands for "next" as long as nothing is received.
  [[nodiscard]] FieldTable arguments(Moment now);

  /// A delivery came; null if its headers can't be read. True if it is the first that shows the queue to be a
  /// stream.
  bool delivered(std::uint64_t tag, const FieldTable* headers);
  /// No delivery below this tag is unsettled.
  void settled_below(std::uint64_t lowest_unsettled);
  /// A delivery was dropped that is to come again.
  void dropped(const FieldTable& headers);
  /// The channel is gone; another one resumes.
  void left(std::uint64_t lowest_unsettled);

 private:
  void take_dropped();
  [[nodiscard]] Kind kind() const noexcept { return kind_.load(std::memory_order_acquire); }

  const FieldTable asked_;
  const Unsettled unsettled_;
  std::atomic<Kind> kind_{Kind::unknown};
  mutable std::mutex mutex_;
  std::optional<Moment> began_;
  std::optional<std::int64_t> resume_;               // at this offset, once a channel was left
  std::optional<std::int64_t> latest_;               // received
  std::optional<std::int64_t> dropped_;              // the lowest that is to come again
  std::deque<std::optional<std::int64_t>> offsets_;  // of the tags first_, first_ + 1, …
  std::uint64_t first_ = 1;
};

}  // namespace warren::inline v0::engine
