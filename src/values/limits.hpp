#pragma once

#include <cstddef>

namespace warren::inline v0 {

/// The most bytes of an AMQP short string, whose length takes one byte. Names, routing keys and some
/// properties are short strings.
inline constexpr std::size_t max_short_string = 255;

}  // namespace warren::inline v0
