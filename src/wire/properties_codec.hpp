#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <warren/message.hpp>

#include "wire/amqp.hpp"

namespace warren::inline v0::wire {

/// Converts properties for rabbitmq-c's encoder. The result refers to `properties` and `pool`, which must
/// outlive it.
/// @param stamp  sent as the last header (see stamp_key)
/// @param default_mode  used if the properties have no delivery mode
/// @throws InvalidArgument  names the property: a string above 255 bytes, an expiration outside 0 to 2^32 - 1
/// ms, or headers that cannot be encoded
[[nodiscard]] amqp_basic_properties_t to_amqp(const Properties& properties, Pool& pool,
                                              std::optional<std::int64_t> stamp = std::nullopt,
                                              std::optional<DeliveryMode> default_mode = std::nullopt);

/// Replaces `out` by the properties of a header frame. `payload` starts at the property flags. Existing
/// strings in `out` keep their memory, so a message that is used again allocates nothing. The headers are
/// checked, but decoded only when they are read.
/// @param stamp  the value of stamp_key, which the headers then leave out; nullopt if there is none
/// @throws MalformedFrame  `out` is then valid, with some or all of the properties
void decode_properties(std::string_view payload, Properties& out, std::optional<std::int64_t>& stamp);

}  // namespace warren::inline v0::wire
