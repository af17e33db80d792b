#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <warren/message.hpp>

#include "wire/amqp.hpp"

namespace warren::inline v0::wire {

/// The properties for rabbitmq-c's encoder. Refers to `properties` and `pool`: both must outlive its use.
/// @param stamp  sent as the last header (see stamp_key)
/// @param default_mode  used if the properties have no delivery mode
/// @throws InvalidArgument  naming the property: string above 255 bytes, expiration outside 0 to 2^32 - 1 ms,
///                          headers that cannot be encoded
[[nodiscard]] amqp_basic_properties_t to_amqp(const Properties& properties, Pool& pool,
                                              std::optional<std::int64_t> stamp = std::nullopt,
                                              std::optional<DeliveryMode> default_mode = std::nullopt);

/// Replaces `out` by what a header frame holds from its property flags on. Strings that `out` has are
/// assigned to, so that a message used again and again allocates nothing. Its headers are checked, and stay
/// encoded until somebody looks at them.
/// @param stamp  what stamp_key holds, which is left out of the headers; nullopt if there is none
/// @throws MalformedFrame  `out` is then valid, with any of the properties
void decode_properties(std::string_view payload, Properties& out, std::optional<std::int64_t>& stamp);

}  // namespace warren::inline v0::wire
