#pragma once

#include <cstddef>

namespace warren::inline v0 {

/// The most bytes of AMQP's short string, whose length is one byte: names, routing keys and some properties.
inline constexpr std::size_t max_short_string = 255;

}  // namespace warren::inline v0
