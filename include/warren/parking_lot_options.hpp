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

/// A message in a parking lot: as it rests there, and what its headers say, read so that nothing in them
/// throws. A plain value. Any publisher to the queue controls what they say: do not trust them, and print
/// them through printable().
struct ParkedMessage {
  Message message{};  ///< body and properties, as it rests there
  /// Why it is parked: `retry-reason`; of what the broker put here (`x-death`), its word: `delivery_limit`,
  /// `rejected`, `expired`, `maxlen`. Empty: unknown.
  std::string reason{};
  /// Where a replay sends it: `retry-original-queue`, else the queue that `x-death` names. Empty: unknown.
  std::string queue{};
  std::string
      exchange{};  ///< where the original was published to, with `routing_key`; empty, too, where unknown
  std::string routing_key{};    ///< likewise
  std::string error_type{};     ///< the handler's exception
  std::string error_message{};  ///< its text
  std::int64_t attempts = 0;    ///< handler runs since it was published, or replayed
  std::int64_t replays = 0;     ///< how often it was replayed
  std::optional<std::chrono::system_clock::time_point> first_failure{};  ///< not set: unknown
  std::optional<std::chrono::system_clock::time_point>
      last_failure{};  ///< of the broker's: when it put it here
  /// Why its properties can't be read (nested deeper than 32 levels); they are then empty. Such a message can
  /// be discarded, not replayed.
  std::string fault{};
};

/// Which messages of a parking lot, and how long to look for them. What is not set does not matter.
struct ParkedSelection {
  std::string reason{};          ///< ParkedMessage::reason is this one
  std::string original_queue{};  ///< ParkedMessage::queue is this one
  /// The last failure was before. A message that does not say when it failed is not selected.
  std::optional<std::chrono::system_clock::time_point> failed_before{};
  std::optional<std::chrono::system_clock::time_point> failed_since{};  ///< likewise: not before
  /// Asked last, in the caller's thread. What it throws ends the call, and reaches the caller.
  std::function<bool(const ParkedMessage&)> predicate{};
  std::optional<std::uint64_t> limit{};  ///< so many messages at most
  bool dry_run = false;                  ///< only counts
  /// For the whole call. Keep it below the broker's consumer timeout, 30 minutes by default.
  std::chrono::milliseconds timeout{600'000};
  std::stop_token stop{};  ///< ends the call between two messages; what it did until then is in its result
};

/// Why messages that were selected are still parked.
struct ParkedFailure {
  std::string queue{};         ///< where a replay was to send them, as their headers say; see printable()
  std::string why{};           ///< for people to read, safe to print
  std::uint64_t messages = 0;  ///< how many
};

/// What became of the messages that a call looked at: `seen - done` are in the parking lot, as before.
/// In a dry run of a replay `failures` counts what would be refused by its headers alone.
struct ParkedResult {
  std::uint64_t seen = 0;        ///< looked at; never more than there were when the call began
  std::uint64_t selected = 0;    ///< of these
  std::uint64_t done = 0;        ///< of these: replayed or discarded; 0 for inspect() and in a dry run
  std::uint64_t duplicates = 0;  ///< replayed, perhaps still parked too: lost ahead of the acknowledgement
  std::vector<ParkedFailure> failures{};   ///< at most 100; further ones are counted in the last
  std::optional<ErrorDetails> ended_by{};  ///< what ended it early: a lost connection, the deadline, an alarm
};

/// How a parking lot replays.
struct ParkingLotOptions {
  /// A direct exchange to replay through, to which the queues are bound by their own names. Empty: the
  /// default exchange.
  std::string exchange{};
  /// The queues that ParkingLot::replay may send messages to, each of 1 to 255 bytes. A message that names
  /// another queue stays parked, and ParkedResult::failures counts it.
  ///
  /// DANGER: any publisher to the parked queue can write the header `retry-original-queue`, and before
  /// RabbitMQ 4.0 `x-death` too. A replay publishes with the rights of the user that runs it, who often may
  /// publish where the publisher of the message may not. Name only queues that may get what anybody wrote.
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
