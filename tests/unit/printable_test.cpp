#include <warren/printable.hpp>

#include <string>
#include <string_view>
#include <vector>

#include <warren/error.hpp>

#include "support/catch.hpp"

using warren::is_printable;
using warren::printable;

TEST_CASE("control characters, marks of direction and what is not UTF-8 are escaped, and nothing else is") {
  struct Case {
    std::string_view text;
    std::string_view shown;
  };
  const std::vector<Case> cases{
      {"\x1b[2J\x1b]0;owned\x07", R"(\x1b[2J\x1b]0;owned\x07)"},
      {std::string_view("a\0b\x01\x1f\x7f", 6), R"(a\x00b\x01\x1f\x7f)"},
      {"\xc2\x80 \xc2\x9b"
       "31m \xc2\x9f",
       R"(\x80 \x9b31m \x9f)"},  // C1, of which one begins what ESC [ begins
      {"\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f", R"(\u061c\u200e\u200f)"},
      {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xae", R"(\u202a\u202b\u202c\u202d\u202e)"},
      {"\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", R"(\u2066\u2067\u2068\u2069)"},
      {"a\xff"
       "b\xc3",
       R"(a\xffb\xc3)"},                                      // no character, and half of one
      {"\xc0\x9b \xed\xa0\x80", R"(\xc0\x9b \xed\xa0\x80)"},  // overlong, and a surrogate
      {"\xf4\x90\x80\x80", R"(\xf4\x90\x80\x80)"},            // above U+10FFFF
      {"one\r\n  two\tthree\n\nfour\n", "one two three four"},
      {"a\xe2\x80\xa8"
       "b\xe2\x80\xa9"
       "c",
       "a b c"},
      {"\n", ""},
  };
  for (const Case& each : cases) {
    INFO(each.shown);
    CHECK_FALSE(is_printable(each.text));
    CHECK(printable(each.text) == each.shown);
    CHECK(is_printable(each.shown));
    CHECK(printable(each.shown) == each.shown);  // an error's text in a log line is not escaped twice
  }
  for (const std::string_view plain :
       {"", " a  b ", "NOT_FOUND - no queue 'ü' in vhost '/'", "中文 – “ok” €",
        "\xc2\xa0\xe2\x80\xa7\xe2\x81\xa5", "\xf0\x9f\x90\x87 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac",
        R"(C:\new \x1b)"}) {
    CHECK(is_printable(plain));
    CHECK(printable(plain) == plain);
  }
}

TEST_CASE("an error's texts are safe to print, whoever chose them") {
  const warren::ChannelError error(
      {.operation = "queue.declare \"q\x1b[2J\"",
       .code = 404,
       .text = "NOT_FOUND - no queue 'q\x1b[2J'\n[info] all is well\xe2\x80\xae ü"});
  const std::string operation = R"(queue.declare "q\x1b[2J")";
  const std::string text = R"(NOT_FOUND - no queue 'q\x1b[2J' [info] all is well\u202e ü)";
  CHECK(error.operation() == operation);
  CHECK(error.text() == text);
  CHECK(error.details().text == text);
  CHECK(error.what() == operation + ": 404 " + text);
}
