// The one place where strangers' words are made safe to show.
#include <warren/printable.hpp>

#include <string>

#include "fuzz.hpp"
#include "values/utf8.hpp"

void fuzz::fuzz(Input input) {
  const std::string_view text = input.rest();
  const std::string shown = warren::printable(text);
  expect(warren::is_printable(shown), "what was made safe is safe");
  expect(warren::printable(shown) == shown, "what was made safe is not changed again");
  expect(warren::is_printable(text) == (shown == text), "only what is not safe is changed");
  expect(warren::is_utf8(shown), "what is shown is UTF-8");
  for (const char each : shown) {
    const auto byte = static_cast<unsigned char>(each);
    expect(byte >= 0x20 && byte != 0x7F, "no control character is shown");
  }
}
