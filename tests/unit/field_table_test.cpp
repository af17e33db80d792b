#include <limits>
#include <string>
#include <utility>

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
