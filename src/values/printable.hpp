#pragma once

#include <string>

#include <warren/error.hpp>
#include <warren/printable.hpp>

namespace warren::inline v0 {

/// Replaces a text by its printable() form. A text that is printable already is only scanned, and needs no
/// memory.
inline void make_printable(std::string& text) {
  if (!is_printable(text)) text = printable(text);
}

/// Replaces the operation and the text of an error by their printable() forms, because both may contain names
/// and the broker's words.
inline void make_printable(ErrorDetails& details) {
  make_printable(details.operation);
  make_printable(details.text);
}

}  // namespace warren::inline v0
