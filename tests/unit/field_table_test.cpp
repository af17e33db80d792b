#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <warren/error.hpp>
#include <warren/field_table.hpp>
#include <warren/message.hpp>

#include "support/catch.hpp"

using warren::FieldTable;
using warren::FieldValue;

TEST_CASE("a field table keeps order, replaces a key, and compares by type and value") {
  FieldTable table{{"b", 1}, {"a", "text"}};
  CHECK(table.size() == 2);
  CHECK(table.begin()->key == "b");
  table.set("b", true);
  REQUIRE(table.find("b") != nullptr);
  CHECK(*table.find("b")->get_if<bool>());
  CHECK(table.begin()->key == "b");
  CHECK(table == FieldTable{{"b", true}, {"a", "text"}});
  CHECK_FALSE(table == FieldTable{{"b", std::int8_t{1}}, {"a", "text"}});
  CHECK(table.erase("b"));
  CHECK_FALSE(table.erase("b"));
  CHECK_FALSE(table.contains("b"));
}

TEST_CASE("a field value takes the AMQP type of the C++ type's width and sign") {
  CHECK(FieldValue(std::int8_t{-3}).get_if<std::int8_t>() != nullptr);
  CHECK(FieldValue(std::uint16_t{3}).get_if<std::uint16_t>() != nullptr);
  CHECK(FieldValue(3).get_if<std::int32_t>() != nullptr);
  CHECK(FieldValue(3u).get_if<std::uint32_t>() != nullptr);
  CHECK(FieldValue(3ull).get_if<std::int64_t>() != nullptr);
  CHECK(FieldValue("x").get_if<std::string>() != nullptr);
  CHECK(FieldValue(std::uint8_t{200}).as_integer() == 200);
  CHECK_FALSE(FieldValue(true).as_integer().has_value());
  CHECK(FieldValue(warren::Binary{"raw"}).as_string() == "raw");
  CHECK(FieldValue().is_void());
  CHECK_THROWS_AS(FieldValue(std::numeric_limits<std::uint64_t>::max()), warren::InvalidArgument);
}

TEST_CASE("a field value nests arrays and tables") {
  const FieldTable inner{{"list", warren::FieldArray{1, "two", FieldTable{{"three", 3.0}}}}};
  const FieldTable outer{{"inner", inner}};
  CHECK(*outer.find("inner")->get_if<FieldTable>() == inner);
  CHECK(FieldTable(outer) == outer);
}

TEST_CASE("an error says operation, code, text and doubt") {
  const warren::ChannelError error({.operation = "queue.declare \"orders\"",
                                    .code = 406,
                                    .text = "PRECONDITION_FAILED",
                                    .in_doubt = true});
  CHECK(std::string(error.what()) ==
        "queue.declare \"orders\": 406 PRECONDITION_FAILED (in doubt: it may have happened)");
  CHECK(error.in_doubt());
  CHECK_FALSE(error.permanent());
}

TEST_CASE("a field table gives the value of a key by its kind, or nothing") {
  const FieldTable table{{"n", std::int8_t{-3}},
                         {"s", "text"},
                         {"raw", warren::Binary{"raw"}},
                         {"yes", true},
                         {"pi", 3.25},
                         {"half", 0.5F},
                         {"price", warren::Decimal{2, 1999}},
                         {"t", warren::Timestamp(std::chrono::seconds(1'700'000'000))},
                         {"list", warren::FieldArray{1, 2}},
                         {"void", {}}};
  CHECK(table.integer("n") == -3);
  CHECK(table.string("s") == "text");
  CHECK(table.string("raw") == "raw");
  CHECK(table.boolean("yes") == true);
  CHECK(table.number("pi") == 3.25);
  CHECK(table.number("half") == 0.5);
  CHECK(table.number("price") == 19.99);
  CHECK(table.number("n") == -3);
  CHECK(table.timestamp("t") == warren::Timestamp(std::chrono::seconds(1'700'000'000)));
  for (const char* other : {"none", "void", "list", "s"}) {
    CHECK_FALSE(table.integer(other));
    CHECK_FALSE(table.boolean(other));
    CHECK_FALSE(table.number(other));
    CHECK_FALSE(table.timestamp(other));
  }
  CHECK_FALSE(table.integer("yes"));
  CHECK_FALSE(table.integer("pi"));
  CHECK_FALSE(table.number("yes"));
  CHECK_FALSE(table.string("n"));
  STATIC_REQUIRE(noexcept(table.integer("n")));
  STATIC_REQUIRE(noexcept(table.string("n")));
  STATIC_REQUIRE(noexcept(table.boolean("n")));
  STATIC_REQUIRE(noexcept(table.number("n")));
  STATIC_REQUIRE(noexcept(table.timestamp("n")));
}

TEST_CASE("a message is made of a string, a view, a text or bytes, also implicitly") {
  const auto body_of = [](const warren::Message& message) { return std::string(message.body()); };
  CHECK(body_of("text") == "text");
  CHECK(body_of(std::string("string")) == "string");
  CHECK(body_of(std::string_view("a view").substr(2)) == "view");
  const std::vector<std::byte> raw{std::byte{0}, std::byte{0xFF}, std::byte{'x'}};
  const std::span<const std::byte> span(raw);
  CHECK(body_of(span) == std::string("\0\xFFx", 3));
  CHECK(warren::Message(raw).body().size() == 3);
  CHECK(body_of(std::span<const std::byte>()).empty());
  CHECK(warren::Message("x", {.type = "order"}).properties().type == "order");
  CHECK(warren::Message(std::string_view("x"), {.type = "order"}).properties().type == "order");
  CHECK(warren::Message(span, {.type = "order"}).properties().type == "order");

  const warren::Message large(std::span<const std::byte>(std::vector<std::byte>(65'536, std::byte{1})));
  CHECK(large.bytes().size() == 65'536);
  CHECK(large.bytes()[65'535] == std::byte{1});
  const warren::Message copy = large;
  CHECK(copy.bytes().data() == large.bytes().data());
  CHECK(std::ranges::equal(warren::Message(span).bytes(), raw));
  CHECK(warren::Message().bytes().empty());
  STATIC_REQUIRE_FALSE(std::is_constructible_v<warren::Message, std::nullptr_t>);
}

TEST_CASE("message factories set the content type and nothing else") {
  CHECK(warren::Message::json("{}").properties() == warren::Properties{.content_type = "application/json"});
  CHECK(warren::Message::text("x").body() == "x");
}

TEST_CASE("copies of a message share a large body until one of them changes it") {
  const warren::Message small(std::string(65'535, 's'));
  CHECK(warren::Message(small).body().data() != small.body().data());

  const warren::Message large(std::string(65'536, 'l'), {.type = "order"});
  warren::Message copy = large;
  CHECK(copy.body().data() == large.body().data());
  CHECK(copy == large);
  copy.body_buffer()[0] = 'x';
  CHECK(large.body() == std::string(65'536, 'l'));
  CHECK(copy.body() == "x" + std::string(65'535, 'l'));
  CHECK(copy != large);
  copy.body_buffer()[0] = 'l';
  CHECK(copy == large);

  const warren::Message moved = std::move(copy);
  CHECK(moved == large);
}
