#pragma once

#include <string>

#include <warren/error.hpp>
#include <warren/printable.hpp>

namespace warren::inline v0 {

/// Replaces a text by what printable() makes of it. One that is printable costs a scan, and no memory.
inline void make_printable(std::string& text) {
  if (!is_printable(text)) text = printable(text);
}

/// The same for the texts of an error: names and the broker's words are in both.
inline void make_printable(ErrorDetails& details) {
  make_printable(details.operation);
  make_printable(details.text);
}

}  // namespace warren::inline v0
