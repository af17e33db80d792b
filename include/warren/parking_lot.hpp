#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/export.hpp>
#include <warren/message.hpp>

namespace warren::inline v0 {

class Connection;
class Publisher;
namespace engine {
class ConnectionCore;
}

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

/// A queue where messages rest that could not be handled (RetryPolicy's parked queue, or a dead-letter
/// queue): looks at them, sends them back to the queue they failed in, or deletes them.
///
/// Each call takes messages with `basic.get`, on a channel of its own, one after the other, at most as many
/// as were ready when it began; what it does not replay or discard goes back with the end of that channel, to
/// where it was, by `basic.nack`. In between others don't see these messages: one call at a time for each
/// queue. One message at a time is in memory, and what is published and not yet confirmed, at most 64
/// messages and 16 MiB.
///
/// Before RabbitMQ 4.3 a quorum queue counts each message that comes back, and deletes it above its delivery
/// limit, which is 20 by default from 4.0 on. So a message that came back once is published again, confirmed
/// and acknowledged, to the end of the same queue, unless the queue's `x-delivery-limit` is 1,000 or more. If
/// that fails, the call ends, and `ended_by` says what to do. Declare a quorum parking lot with a
/// QueueOptions::delivery_limit that is never reached, such as 1'000'000'000: then nothing is published.
///
/// Any thread. Each call blocks at most ParkedSelection::timeout and, for the steps under way then,
/// ConnectionOptions::operation_timeout. It throws only where it could not begin; what ends it later is in
/// the result. Calls on a moved-from ParkingLot throw InvalidArgument.
class WARREN_EXPORT ParkingLot {
 public:
  /// Nothing is asked of the broker before a call. Without the connection (closed, destroyed) calls throw
  /// ConnectionError.
  /// @param connection  for its channels; it may be destroyed before the parking lot
  /// @param queue       1 to 255 bytes; not a stream
  /// @param options     see ParkingLotOptions
  /// @throws InvalidArgument  a name can't be right, one of `allowed_queues` included
  ParkingLot(Connection& connection, std::string queue, ParkingLotOptions options = {});
  ~ParkingLot();                                 ///< does nothing to the queue
  ParkingLot(ParkingLot&&) noexcept;             ///< takes over; the other is moved-from
  ParkingLot& operator=(ParkingLot&&) noexcept;  ///< ends what it had, as the destructor; then likewise
  ParkingLot(const ParkingLot&) = delete;
  ParkingLot& operator=(const ParkingLot&) = delete;

  /// Calls `visit` with each message selected, in the queue's order, in this thread. Nothing is consumed.
  /// What `visit` throws ends the call, and reaches the caller.
  /// @throws InvalidArgument  the timeout is not above 0
  /// @throws ChannelError     404 where there is no such queue, 403 without permission
  /// @throws ConnectionError, TimeoutError
  ParkedResult inspect(const std::function<void(const ParkedMessage&)>& visit,
                       const ParkedSelection& selection = {});

  /// Sends each message selected back to its queue to be handled anew: published (persistent, mandatory),
  /// confirmed, and only then acknowledged here. It may arrive twice, but is never lost.
  ///
  /// Counts of attempts and crashes, moments and reasons are taken off the copy, `retry-replay-count` is one
  /// more, and `retry-original-*` stays. It has no expiration, whatever the original's was
  /// (`retry-original-expiration`): who replays a message wants it handled, however late. A message whose
  /// queue is unknown, gone, full or not one of ParkingLotOptions::allowed_queues stays parked, and the
  /// result says why.
  /// @throws as inspect(), and ChannelError where no channel can be opened for publishing
  [[nodiscard]] ParkedResult replay(const ParkedSelection& selection = {});

  /// Deletes each message selected (`basic.ack`), for good. Throws as inspect().
  [[nodiscard]] ParkedResult discard(const ParkedSelection& selection);

  /// The queue that it was made for.
  [[nodiscard]] const std::string& queue() const noexcept;

 private:
  [[nodiscard]] Publisher open_publisher() const;
  std::shared_ptr<engine::ConnectionCore> connection_;
  std::string queue_;
  ParkingLotOptions options_;
};

}  // namespace warren::inline v0
