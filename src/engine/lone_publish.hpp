#pragma once

#include <functional>
#include <memory>
#include <string>

#include <warren/message.hpp>

#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {

/// Publishes one message, mandatory and with a confirm, alone on a channel of its own. Its return is
/// recognised without the header that a Publisher adds. So it also works if a full header frame has no room
/// for that header.
///
/// Blocks until the message is confirmed, or until `stop` returns true. In that case it returns false, and
/// the message may have arrived.
/// @param stop  asked on this thread with no lock held, about five times a second; may be empty
/// @throws InvalidArgument  the message's headers do not fit one frame
/// @throws ReturnedError, NackedError, ChannelError, ConnectionError, TimeoutError  for the reasons that
/// Publisher::publish() has
bool publish_alone(const std::shared_ptr<ConnectionCore>& connection, const std::string& exchange,
                   const std::string& routing_key, const Message& message, ConnectionCore::Deadline deadline,
                   const std::function<bool()>& stop = {});

}  // namespace warren::inline v0::engine
