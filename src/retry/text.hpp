#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace warren::inline v0::retry {

/// The text as valid UTF-8 of at most `limit` bytes, never cut within a character.
///
/// Bytes that are not UTF-8 become U+FFFD. Exceptions carry texts in any encoding, and tools that show
/// headers expect UTF-8.
[[nodiscard]] std::string to_utf8(std::string_view text, std::size_t limit);

/// A random UUID (version 4, RFC 9562) from the system's source of randomness. Thread-safe.
[[nodiscard]] std::string random_uuid();

}  // namespace warren::inline v0::retry
