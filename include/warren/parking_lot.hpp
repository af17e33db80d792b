#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <warren/export.hpp>
#include <warren/parking_lot_options.hpp>

namespace warren::inline v0 {

class Connection;
class Publisher;
namespace engine {
class ConnectionCore;
}

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
  ParkingLot(Connection& connection, std::string_view queue, ParkingLotOptions options = {});
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
