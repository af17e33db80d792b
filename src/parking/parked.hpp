#pragma once

#include <string>

#include <warren/message.hpp>
#include <warren/parking_lot.hpp>

namespace warren::inline v0::parking {

/// Reads the headers of a parked message. Any publisher may have written them.
/// @param fault  why the properties could not be read, or empty if they could
[[nodiscard]] ParkedMessage read_parked(Message message, std::string fault);

/// Whether a message meets the conditions of a selection, apart from its predicate and its limit.
[[nodiscard]] bool matches(const ParkedSelection& selection, const ParkedMessage& parked);

/// Makes the message of a replay. The headers that count attempts are removed, and one more replay is
/// counted. The body is moved.
[[nodiscard]] Message make_replay(ParkedMessage parked);

/// Makes the message that is parked again. Only properties that the broker would act on are removed, and
/// warren's headers record them. The data in `x-death` is copied into warren's headers. The body is moved.
[[nodiscard]] Message make_parked_again(ParkedMessage parked);

/// Removes the headers that the broker wrote when it dead-lettered the message.
void drop_deaths(Properties& properties);

}  // namespace warren::inline v0::parking
