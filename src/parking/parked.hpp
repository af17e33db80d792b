#pragma once

#include <string>

#include <warren/message.hpp>
#include <warren/parking_lot.hpp>

namespace warren::inline v0::parking {

/// What the headers of a parked message say, whoever wrote them.
/// @param fault  why its properties could not be read; empty: they were
[[nodiscard]] ParkedMessage read_parked(Message message, std::string fault);

/// Whether a selection's own conditions hold; neither its predicate nor its limit is asked.
[[nodiscard]] bool matches(const ParkedSelection& selection, const ParkedMessage& parked);

/// The message to be handled again: without what counted its attempts, and with one more replay counted.
/// Takes the body along.
[[nodiscard]] Message make_replay(ParkedMessage parked);

/// The message to be parked again, for it to rest as it did: only what would be acted on by the broker is
/// off, and noted in our headers. What `x-death` says is there a second time, in our headers. Takes the body
/// along.
[[nodiscard]] Message make_parked_again(ParkedMessage parked);

/// Takes off what the broker wrote when it dead-lettered the message.
void drop_deaths(Properties& properties);

}  // namespace warren::inline v0::parking
