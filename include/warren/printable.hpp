#pragma once

#include <string>
#include <string_view>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// A text that anybody may have written, as one line that is safe to show in a terminal or a log.
///
/// Line breaks, tabs, U+2028 and U+2029 become one space, with the spaces around them. Other control
/// characters (C0 with escape, DEL, C1), the marks that change the direction of writing (U+061C, U+200E,
/// U+200F, U+202A to U+202E, U+2066 to U+2069) and bytes that are not UTF-8 are escaped: `\x1b`, `\u202e`,
/// `\xff`. All other UTF-8 stays as it is. A text that was escaped before is not changed again.
///
/// warren applies it to LogEvent::text, to the texts of each Error and StateEvent, and to ParkedFailure::why.
/// Bodies, headers and names are data, which warren hands over unchanged: escape them before you print them.
/// Any thread. It does not block.
[[nodiscard]] WARREN_EXPORT std::string printable(std::string_view text);

/// Whether printable() would not change the text. It allocates nothing.
[[nodiscard]] WARREN_EXPORT bool is_printable(std::string_view text) noexcept;

}  // namespace warren::inline v0
