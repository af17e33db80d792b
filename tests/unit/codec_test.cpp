#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

#include "support/catch.hpp"
#include "values/utf8.hpp"
#include "wire/amqp.hpp"
#include "wire/frame.hpp"
#include "wire/malformed.hpp"
#include "wire/methods.hpp"
#include "wire/properties_codec.hpp"
#include "wire/table_codec.hpp"

namespace {

using namespace warren;

constexpr std::uint32_t frame_max = 4096;

std::string_view view(const wire::Bytes& bytes) { return {bytes.data(), bytes.size()}; }

void append(wire::Bytes& out, const Properties& properties, std::string_view body = {},
            std::optional<std::int64_t> stamp = std::nullopt) {
  wire::append_content(out, 3, "exchange", "key", true, properties, stamp, body, frame_max);
}

// The property flags and what follows, as a broker would pass them on.
std::string encoded(const Properties& properties, std::optional<std::int64_t> stamp = std::nullopt) {
  wire::Bytes out;
  append(out, properties, {}, stamp);
  std::string_view input = view(out);
  REQUIRE(wire::next_frame(input, frame_max).has_value());
  const auto header = wire::next_frame(input, frame_max);
  REQUIRE(header.has_value());
  return std::string(wire::decode_content_header(header->payload).properties);
}

std::string encoded_table(const FieldTable& table, std::optional<std::int64_t> stamp = std::nullopt) {
  Properties properties;
  properties.headers = table;
  return encoded(properties, stamp).substr(6);
}

FieldTable every_type() {
  return {{"void", FieldValue()},
          {"bool", true},
          {"i8", std::int8_t{-8}},
          {"u8", std::uint8_t{200}},
          {"i16", std::int16_t{-16}},
          {"u16", std::uint16_t{60000}},
          {"i32", std::int32_t{-32}},
          {"u32", std::uint32_t{4000000000U}},
          {"i64", std::int64_t{-64}},
          {"float", 1.5F},
          {"double", -2.25},
          {"decimal", Decimal{2, 314}},
          {"string", "text"},
          {"binary", Binary{std::string("\0\1", 2)}},
          {"time", Timestamp(std::chrono::seconds(1700000000))},
          {"array", FieldArray{FieldValue(std::int32_t{1}), FieldValue("two"), FieldValue(FieldArray{})}},
          {"table", FieldTable{{"inner", FieldTable{{"innermost", false}}}}}};
}

FieldTable nested(int levels) {
  FieldTable table;
  for (int i = 1; i < levels; ++i) {
    FieldTable outer;
    outer.set("t", std::move(table));
    table = std::move(outer);
  }
  return table;
}

}  // namespace

TEST_CASE("A table of every field type comes back", "[codec]") {
  FieldTable out{{"old", 1}};
  wire::decode_table(encoded_table(every_type()), out);
  CHECK(out == every_type());
}

TEST_CASE("Truncated tables are refused", "[codec]") {
  FieldTable table;
  table.set("all", every_type());
  const std::string bytes = encoded_table(table);
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    FieldTable out;
    CHECK_THROWS_AS(wire::decode_table(part, out), wire::MalformedFrame);
  }
}

TEST_CASE("Unknown field types and large unsigned numbers are refused", "[codec]") {
  FieldTable out;
  CHECK_THROWS_AS(wire::decode_table("\001k?", out), wire::MalformedFrame);
  CHECK_THROWS_AS(wire::decode_table(std::string("\001kL\x80\0\0\0\0\0\0\0", 11), out), wire::MalformedFrame);
  wire::decode_table(std::string("\001kL\0\0\0\0\0\0\0\x07", 11), out);
  CHECK(out == FieldTable{{"k", std::int64_t{7}}});
}

TEST_CASE("Nesting ends at 32 levels", "[codec]") {
  FieldTable out;
  wire::decode_table(encoded_table(nested(32)), out);
  CHECK(out == nested(32));
  CHECK_THROWS_AS(encoded_table(nested(33)), InvalidArgument);

  std::string deep;
  for (int i = 0; i < 33; ++i) {
    const auto size = static_cast<unsigned>(deep.size());
    std::string outer{
        '\1', 't', 'F', '\0', '\0', static_cast<char>(size >> 8U), static_cast<char>(size & 0xFFU)};
    deep = outer + deep;
  }
  CHECK_THROWS_AS(wire::decode_table(deep, out), wire::MalformedFrame);
}

TEST_CASE("A key has at most 255 bytes", "[codec]") {
  FieldTable table{{std::string(255, 'k'), 1}};
  FieldTable out;
  wire::decode_table(encoded_table(table), out);
  CHECK(out == table);
  CHECK_THROWS_AS(encoded_table({{std::string(256, 'k'), 1}}), InvalidArgument);
}

TEST_CASE("NaN and infinity are refused in any table, at any depth", "[codec]") {
  const double infinite = std::numeric_limits<double>::infinity();
  for (const FieldValue& value :
       {FieldValue(std::nan("")), FieldValue(infinite), FieldValue(-infinite), FieldValue(std::nanf("")),
        FieldValue(std::numeric_limits<float>::infinity())}) {
    for (const FieldTable& table :
         {FieldTable{{"load", value}}, FieldTable{{"load", FieldTable{{"x", value}}}},
          FieldTable{{"load", FieldArray{FieldArray{value}}}}}) {
      wire::Bytes out;
      CHECK_THROWS_AS(append(out, Properties{.headers = table}), InvalidArgument);
      CHECK_THROWS_AS(wire::queue_declare(out, 1, "q", {}, table), InvalidArgument);
      CHECK_THROWS_AS(wire::basic_consume(out, 1, "q", "t", {}, table), InvalidArgument);
      CHECK(out.empty());
    }
  }
  CHECK_NOTHROW(encoded_table(
      {{"least", std::numeric_limits<double>::denorm_min()}, {"most", std::numeric_limits<float>::max()}}));
}

TEST_CASE("UTF-8 is told from what is none", "[codec]") {
  for (const char* text : {"", "orders", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x90\x87", "\xF4\x8F\xBF\xBF",
                           "\xED\x9F\xBF", "\xEE\x80\x80", "\xE0\xA0\x80", "\xF0\x90\x80\x80"}) {
    INFO(text);
    CHECK(is_utf8(text));
  }
  for (const char* text : {"\xFF", "\x80", "a\xC3", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                           "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82",
                           "\xE2\x82z", "\xF0\x9F\x90", "\xC3(", "\xE2(\xA1"}) {
    INFO(text);
    CHECK_FALSE(is_utf8(text));
  }
}

TEST_CASE("A method's names must be UTF-8; a publish's and a message's texts need not", "[codec]") {
  const std::string bad = "b\xFF";
  wire::Bytes out;
  CHECK_THROWS_AS(wire::queue_declare(out, 1, bad, {}, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::exchange_declare(out, 1, bad, "direct", {}, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::exchange_declare(out, 1, "e", bad, {}, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::queue_bind(out, 1, "q", "e", bad, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::exchange_unbind(out, 1, "a", bad, "", {}), InvalidArgument);
  CHECK_THROWS_AS(wire::basic_consume(out, 1, "q", bad, {}, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::basic_get(out, 1, bad, false), InvalidArgument);
  CHECK(out.empty());
  CHECK_NOTHROW(wire::queue_declare(out, 1, "q", {}, {{bad, bad}}));
  CHECK_NOTHROW(wire::append_content(out, 1, "", bad, true, {.headers = {{bad, bad}}, .message_id = bad}, {},
                                     "", frame_max));
}

TEST_CASE("Properties come back", "[codec]") {
  Properties all;
  all.content_type = std::string("a");
  all.content_encoding = std::string("b");
  all.headers = every_type();
  all.delivery_mode = DeliveryMode::persistent;
  all.priority = std::uint8_t{9};
  all.correlation_id = std::string(255, 'c');
  all.reply_to = std::string("");
  all.expiration = std::chrono::milliseconds(4294967295);
  all.message_id = std::string("d");
  all.timestamp = Timestamp(std::chrono::seconds(1));
  all.type = std::string("e");
  all.user_id = std::string("f");
  all.app_id = std::string("g");
  all.cluster_id = std::string("h");
  Properties out;
  const std::string bytes = encoded(all);
  std::optional<std::int64_t> stamp;
  wire::decode_properties(bytes, out, stamp);
  CHECK(out == all);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS_AS(wire::decode_properties(bytes.substr(0, size), out, stamp), wire::MalformedFrame);
  }
  wire::decode_properties(encoded({}), out, stamp);
  CHECK(out == Properties());
}

TEST_CASE("The stamp is the last header, and there is one", "[codec]") {
  Properties properties;
  properties.headers = {{"warren-stamp", 1}, {"mine", 2}};
  const std::string bytes = encoded_table(properties.headers, 42);
  FieldTable on_the_wire;
  wire::decode_table(bytes, on_the_wire);
  CHECK(on_the_wire == FieldTable{{"mine", 2}, {"warren-stamp", std::int64_t{42}}});

  Properties out;
  std::optional<std::int64_t> stamp;
  wire::decode_properties(encoded(properties, 42), out, stamp);
  CHECK(stamp == 42);
  CHECK(out.headers == FieldTable{{"mine", 2}});

  properties.headers = {{"warren-stamp", "somebody else's"}};
  wire::decode_properties(encoded(properties), out, stamp);
  CHECK_FALSE(stamp.has_value());
  CHECK(out.headers == properties.headers);
}

TEST_CASE("What cannot be sent leaves the buffer as it was", "[codec]") {
  wire::Bytes out{'x'};
  Properties properties;
  SECTION("string") { properties.app_id = std::string(256, 'a'); }
  SECTION("negative expiration") { properties.expiration = std::chrono::milliseconds(-1); }
  SECTION("long expiration") { properties.expiration = std::chrono::milliseconds(4294967296); }
  SECTION("header frame") { properties.headers.set("big", std::string(frame_max, 'b')); }
  CHECK_THROWS_AS(append(out, properties), InvalidArgument);
  CHECK_THROWS_AS(
      wire::append_content(out, 1, std::string(256, 'e'), "", false, {}, std::nullopt, "", frame_max),
      InvalidArgument);
  CHECK(out == wire::Bytes{'x'});
}

TEST_CASE("A body is split at frame_max - 8", "[codec]") {
  constexpr std::size_t part = frame_max - 8;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, part - 1, part, part + 1, 2 * part, 2 * part + 1}) {
    const std::string body(size, 'b');
    wire::Bytes out;
    append(out, {}, body);
    std::string_view input = view(out);
    REQUIRE(wire::next_frame(input, frame_max)->type == wire::FrameType::method);
    const auto header = wire::next_frame(input, frame_max);
    CHECK(wire::decode_content_header(header.value().payload).body_size == size);
    std::string joined;
    std::size_t frames = 0;
    while (const auto frame = wire::next_frame(input, frame_max)) {
      CHECK(frame->type == wire::FrameType::body);
      CHECK(frame->channel == 3);
      joined += frame->payload;
      ++frames;
    }
    CHECK(input.empty());
    CHECK(frames == (size + part - 1) / part);
    CHECK(joined == body);
  }
}

TEST_CASE("Frames are awaited whole and checked", "[codec]") {
  wire::Bytes out;
  wire::append_heartbeat(out);
  for (std::size_t size = 0; size < out.size(); ++size) {
    std::string_view input = view(out).substr(0, size);
    CHECK_FALSE(wire::next_frame(input, frame_max).has_value());
    CHECK(input.size() == size);
  }
  out.back() = 0;
  std::string_view wrong_end = view(out);
  CHECK_THROWS_AS(wire::next_frame(wrong_end, frame_max), wire::MalformedFrame);
  std::string_view wrong_type = "AMQP";
  CHECK_THROWS_AS(wire::next_frame(wrong_type, frame_max), wire::MalformedFrame);
  std::string_view too_long("\3\0\1\0\0\x0F\xF9", 7);
  CHECK_THROWS_AS(wire::next_frame(too_long, frame_max), wire::MalformedFrame);
}

TEST_CASE("Methods are written and read", "[codec]") {
  wire::Pool pool;
  wire::Bytes out;
  wire::basic_nack(out, 7, 99, true, true);
  std::string_view input = view(out);
  const auto frame = wire::next_frame(input, frame_max);
  REQUIRE(frame.has_value());
  const auto method = wire::decode_method(frame->payload, pool);
  CHECK(method.id == wire::id::basic_nack);
  CHECK(method.delivery_tag == 99);
  CHECK(method.multiple);
  CHECK(method.requeue);
  CHECK_THROWS_AS(wire::decode_method(frame->payload.substr(0, 3), pool), wire::MalformedFrame);
  CHECK_THROWS_AS(wire::decode_method(frame->payload.substr(0, 8), pool), wire::MalformedFrame);

  const wire::Bytes before = out;
  CHECK_THROWS_AS(wire::queue_declare(out, 1, std::string(256, 'q'), {}, {}), InvalidArgument);
  CHECK_THROWS_AS(wire::queue_declare(out, 1, "q", {}, {{"x", std::string(1U << 18U, 'x')}}),
                  InvalidArgument);
  CHECK(out == before);
}

TEST_CASE("A header frame may be above frame_max, by so much; its size is told before it is whole",
          "[codec]") {
  const auto begins = [](char type, std::size_t length) {
    std::string head{type, 0, 1};
    for (int shift = 24; shift >= 0; shift -= 8) head.push_back(static_cast<char>((length >> shift) & 0xFF));
    return head;
  };
  constexpr std::size_t most = frame_max - wire::frame_overhead + wire::header_excess;
  const auto read = [&](char type, std::size_t length) {
    const std::string head = begins(type, length);
    std::string_view input = head;
    return wire::next_frame(input, frame_max).has_value();
  };
  CHECK_FALSE(read(2, most));  // not whole
  CHECK_THROWS_AS(read(2, most + 1), wire::MalformedFrame);
  for (const char type : {'\1', '\3', '\10'}) {
    CHECK_FALSE(read(type, frame_max - wire::frame_overhead));
    CHECK_THROWS_AS(read(type, frame_max), wire::MalformedFrame);
  }
  CHECK(wire::frame_size(begins(2, most)) == most + wire::frame_overhead);
  CHECK(wire::frame_size(begins(2, most).substr(0, 6)) == 0);
}
