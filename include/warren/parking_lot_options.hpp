#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/message.hpp>

namespace warren::inline v0 {

/// A message in a parking lot, with what its headers say about its failures. A plain value.
///
/// Reading the headers never throws. Any publisher to the queue controls these values. Do not trust them, and
/// print them through printable().
struct ParkedMessage {
  Message message{};  ///< body and properties as they are in the parked queue
  /// Why it is parked. It is the header `retry-reason`, or, if the broker dead-lettered the message, the
  /// reason in `x-death`: `delivery_limit`, `rejected`, `expired` or `maxlen`. Empty if unknown.
  std::string reason{};
  /// The queue that a replay sends it to: `retry-original-queue`, or else the queue in `x-death`. Empty if
  /// unknown.
  std::string queue{};
  std::string exchange{};       ///< the exchange that the original was published to; empty if unknown
  std::string routing_key{};    ///< the routing key that the original was published with; empty if unknown
  std::string error_type{};     ///< the type of the handler's exception
  std::string error_message{};  ///< the text of the handler's exception
  std::int64_t attempts = 0;    ///< handler runs since it was published or last replayed
  std::int64_t replays = 0;     ///< how often it was replayed
  std::optional<std::chrono::system_clock::time_point> first_failure{};  ///< when it first failed, if known
  /// When it last failed, or when the broker dead-lettered it. Not set if unknown.
  std::optional<std::chrono::system_clock::time_point> last_failure{};
  /// Why the properties can't be read, for example because they are nested deeper than 32 levels. The
  /// properties are then empty, and the message can be discarded but not replayed. Empty if they were read.
  std::string fault{};
};

/// Selects messages of a parking lot, and bounds the call. A condition that is not set selects all messages.
struct ParkedSelection {
  std::string reason{};          ///< only messages with this ParkedMessage::reason
  std::string original_queue{};  ///< only messages with this ParkedMessage::queue
  /// Only messages whose last failure was before this time. A message without that time is not selected.
  std::optional<std::chrono::system_clock::time_point> failed_before{};
  /// Only messages that last failed at this time or later.
  std::optional<std::chrono::system_clock::time_point> failed_since{};
  /// Called last, on the caller's thread, if all other conditions hold. An exception from it ends the call
  /// and reaches the caller.
  std::function<bool(const ParkedMessage&)> predicate{};
  std::optional<std::uint64_t> limit{};  ///< the largest number of messages to select
  bool dry_run = false;                  ///< only count the messages; nothing is replayed or discarded
  /// The deadline of the whole call. Keep it below the broker's consumer timeout, which is 30 minutes by
  /// default.
  std::chrono::milliseconds timeout{600'000};
  std::stop_token stop{};  ///< ends the call before the next message; the result tells what was done
};

/// Why some of the selected messages are still parked.
struct ParkedFailure {
  std::string queue{};         ///< the queue that the messages' headers name; print it through printable()
  std::string why{};           ///< the reason, as text that is safe to print
  std::uint64_t messages = 0;  ///< the number of these messages
};

/// What a call did with the messages of the parking lot. All but `done` messages are still parked.
///
/// In a dry run of a replay, `failures` counts the messages whose headers would make the replay refuse them.
struct ParkedResult {
  std::uint64_t seen = 0;      ///< messages looked at; never more than there were when the call began
  std::uint64_t selected = 0;  ///< messages seen that were selected
  std::uint64_t done = 0;      ///< messages replayed or discarded; 0 for inspect() and in a dry run
  /// Messages replayed that may still be parked, because the acknowledgement was lost.
  std::uint64_t duplicates = 0;
  std::vector<ParkedFailure> failures{};  ///< at most 100 entries; the last one counts all further failures
  /// Why the call ended early, for example a lost connection or the deadline.
  std::optional<ErrorDetails> ended_by{};
};

/// How ParkingLot::replay sends messages.
struct ParkingLotOptions {
  /// A direct exchange to replay through; each queue must be bound to it by its own name. Empty means the
  /// default exchange.
  std::string exchange{};
  /// The queues that ParkingLot::replay may send messages to, each of 1 to 255 bytes. A message that names
  /// another queue stays parked, and ParkedResult::failures counts it.
  ///
  /// DANGER: any publisher to the parked queue can write the header `retry-original-queue`, and before
  /// RabbitMQ 4.0 `x-death` too. A replay publishes with the rights of the user that runs it. That user can
  /// often publish to queues that the publisher of the message has no access to. Name only queues that may
  /// get any message.
  ///
  /// If it is empty, a replay sends to the queues that are known to park here. These are:
  /// - `orders`, if the parked queue is `orders_parked`, the name that a RetryPolicy gives it;
  /// - each queue for which a RetryPolicy with this parked queue was declared over the same Connection, as a
  ///   Consumer does;
  /// - each queue that this Connection declared with this one as its dead-letter routing key, through the
  ///   default exchange.
  ///
  /// If no queue is known, no message is replayed.
  std::vector<std::string> allowed_queues{};
};

}  // namespace warren::inline v0
