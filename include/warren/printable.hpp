#pragma once

#include <string>
#include <string_view>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// Turns a text into one line that is safe to show in a terminal or a log. Use it for texts that other
/// programs wrote.
///
/// Line breaks, tabs, U+2028 and U+2029 become one space, with the spaces around them. These are escaped, for
/// example as `\x1b`, `\u202e` and `\xff`:
///
/// - other control characters (C0 with escape, DEL, C1);
/// - the marks that change the direction of writing (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
///   U+2069);
/// - bytes that are not UTF-8.
///
/// All other UTF-8 stays as it is. A second call does not change the text again.
///
/// warren applies it to LogEvent::text, to the texts of each Error and StateEvent, and to ParkedFailure::why.
/// Bodies, headers and names are data, which warren hands over unchanged: call printable() before you print
/// them. Any thread. Never blocks.
[[nodiscard]] WARREN_EXPORT std::string printable(std::string_view text);

/// Whether printable() would leave the text unchanged. Allocates nothing. Any thread. Never blocks.
[[nodiscard]] WARREN_EXPORT bool is_printable(std::string_view text) noexcept;

}  // namespace warren::inline v0
