#pragma once

#include <functional>
#include <memory>
#include <string>

#include <warren/message.hpp>

#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {

/// Publishes one message, mandatory and confirmed, alone on a channel of its own: so its return is known
/// without the header by which a Publisher recognises one, and for which a full header frame has no room.
///
/// Blocks until it is confirmed, or until `stop` says so: then false, and the message may have arrived.
/// @param stop  asked on this thread with no lock held, about five times a second; may be empty
/// @throws InvalidArgument  the message's headers do not fit one frame
/// @throws ReturnedError, NackedError, ChannelError, ConnectionError, TimeoutError  as Publisher::publish
bool publish_alone(const std::shared_ptr<ConnectionCore>& connection, const std::string& exchange,
                   const std::string& routing_key, const Message& message,
                   ConnectionCore::Deadline deadline, const std::function<bool()>& stop = {});

}  // namespace warren::inline v0::engine
