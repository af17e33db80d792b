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

/// A queue of messages that could not be handled: the parked queue of a RetryPolicy, or a dead-letter queue.
/// A ParkingLot inspects the messages, replays them to the queue in which they failed, or discards them.
///
/// Each call takes the messages with `basic.get`, one after the other, on a channel of its own. It takes at
/// most as many as were ready when the call began. When the call ends, the messages that were not replayed or
/// discarded are requeued at their old places (`basic.nack`). During the call other consumers don't see these
/// messages, so make one call at a time for each queue. A call holds one message in memory, plus the
/// published messages that are not confirmed yet: at most 64 messages and 16 MiB.
///
/// Before RabbitMQ 4.3 a quorum queue counts how often a message is requeued. It deletes the message above
/// its delivery limit, which is 20 by default from RabbitMQ 4.0 on. Therefore a message that was requeued
/// once is published again to the end of its queue, and the old message is acknowledged after the confirm. If
/// that fails, the call ends, and ParkedResult::ended_by tells what to do.
///
/// To avoid this, declare a quorum parking lot with a QueueOptions::delivery_limit of 1'000 or more, for
/// example 1'000'000'000. Then the messages are always requeued.
///
/// Any thread. Each call blocks at most ParkedSelection::timeout, plus ConnectionOptions::operation_timeout
/// for the steps that have begun by then. A call throws only if it could not begin. Later errors are in the
/// result. inspect(), replay() and discard() of a moved-from ParkingLot throw LogicError.
class WARREN_EXPORT ParkingLot {
 public:
  /// Makes a parking lot. It asks the broker nothing before the first call. If the connection is closed or
  /// destroyed, the calls throw ConnectionError.
  /// @param connection  the connection for the channels; it may be destroyed before the parking lot
  /// @param queue       1 to 255 bytes; not a stream
  /// @param options     see ParkingLotOptions
  /// @throws InvalidArgument  a name is empty or above 255 bytes, also in ParkingLotOptions::allowed_queues
  ParkingLot(Connection& connection, std::string_view queue, ParkingLotOptions options = {});
  ~ParkingLot();                      ///< leaves the queue as it is
  ParkingLot(ParkingLot&&) noexcept;  ///< takes over the other object, which is then moved-from
  /// Takes over the other object, which is then moved-from.
  ParkingLot& operator=(ParkingLot&&) noexcept;
  ParkingLot(const ParkingLot&) = delete;
  ParkingLot& operator=(const ParkingLot&) = delete;

  /// Calls `visit` for each selected message, in the order of the queue, on the calling thread. All messages
  /// stay parked. An exception from `visit` ends the call and reaches the caller.
  /// @throws InvalidArgument  the timeout is not above 0
  /// @throws ChannelError     404 if the queue does not exist, 403 without permission
  /// @throws ConnectionError  the connection is lost or closed
  /// @throws TimeoutError     the broker did not answer in time
  ParkedResult inspect(const std::function<void(const ParkedMessage&)>& visit,
                       const ParkedSelection& selection = {});

  /// Replays each selected message: publishes it to its queue (persistent, mandatory), waits for the confirm,
  /// and then acknowledges the parked message. A message may arrive twice, but is never lost.
  ///
  /// A replayed message starts again: the headers with counts of attempts and crashes, times and reasons are
  /// removed. `retry-replay-count` is increased by one, and `retry-original-*` stays. The message has no
  /// expiration, even if the original had one (`retry-original-expiration`), so that it is handled however
  /// late it is.
  ///
  /// A message stays parked if its queue is unknown, missing, full, or not one of
  /// ParkingLotOptions::allowed_queues. The result tells why.
  /// @throws InvalidArgument  the timeout is not above 0
  /// @throws ChannelError     404 if the parked queue does not exist, 403 without permission, or no channel
  ///                          can be opened for publishing
  /// @throws ConnectionError  the connection is lost or closed
  /// @throws TimeoutError     the broker did not answer in time
  [[nodiscard]] ParkedResult replay(const ParkedSelection& selection = {});

  /// Deletes each selected message permanently (`basic.ack`).
  /// @throws InvalidArgument  the timeout is not above 0
  /// @throws ChannelError     404 if the queue does not exist, 403 without permission
  /// @throws ConnectionError  the connection is lost or closed
  /// @throws TimeoutError     the broker did not answer in time
  [[nodiscard]] ParkedResult discard(const ParkedSelection& selection);

  /// The name of the parked queue.
  [[nodiscard]] const std::string& queue() const noexcept;

 private:
  [[nodiscard]] Publisher open_publisher() const;
  std::shared_ptr<engine::ConnectionCore> connection_;
  std::string queue_;
  ParkingLotOptions options_;
};

}  // namespace warren::inline v0
