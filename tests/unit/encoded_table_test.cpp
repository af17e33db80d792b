#include "wire/encoded_table.hpp"

#include <malloc.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <warren/delivery.hpp>

#include "engine/content_assembler.hpp"
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "wire/malformed.hpp"
#include "wire/properties_codec.hpp"
#include "wire/table_codec.hpp"

// The headers of a delivery are checked when they come, and decoded when somebody looks.

using namespace warren;
using engine::ContentAssembler;
using support::long_string;
using support::number;
using support::short_string;

namespace {

std::string entry(std::string_view key, char type, std::string_view value) {
  return short_string(key) + type + std::string(value);
}

// Entries of every field type, as they are on the wire.
std::string every_type() {
  return entry("void", 'V', "") + entry("yes", 't', "\1") + entry("i8", 'b', number(0xF8, 1)) +
         entry("u8", 'B', number(200, 1)) + entry("i16", 's', number(0xFFF0, 2)) +
         entry("u16", 'u', number(60'000, 2)) + entry("i32", 'I', number(0xFFFF'FFE0, 4)) +
         entry("u32", 'i', number(4'000'000'000, 4)) + entry("i64", 'l', number(~std::uint64_t{63}, 8)) +
         entry("u64", 'L', number(64, 8)) + entry("float", 'f', number(0x3FC0'0000, 4)) +
         entry("double", 'd', number(0x4002'0000'0000'0000, 8)) +
         entry("decimal", 'D', number(2, 1) + number(314, 4)) + entry("string", 'S', long_string("text")) +
         entry("binary", 'x', long_string(std::string("\0\1", 2))) +
         entry("time", 'T', number(1'700'000'000, 8)) +
         entry("array", 'A',
               long_string("I" + number(1, 4) + "S" + long_string("two") + "A" + long_string(""))) +
         entry("table", 'F',
               long_string(entry("inner", 'F', long_string(entry("innermost", 't', std::string(1, '\0'))))));
}

FieldTable decoded(std::string_view bytes) {
  FieldTable table;
  wire::decode_table(bytes, table);
  return table;
}

// A table as a delivery has it.
FieldTable arrived(std::string_view bytes, std::optional<std::int64_t>* stamp = nullptr) {
  FieldTable table;
  std::optional<std::int64_t> own;
  wire::TableAccess::assign(table, bytes, stamp == nullptr ? own : *stamp);
  return table;
}

// What a call says that throws a MalformedFrame; empty if it throws nothing.
template <typename Call>
std::string fault(Call&& call) {
  try {
    call();
    return {};
  } catch (const wire::MalformedFrame& thrown) {
    return thrown.what();
  }
}

ContentAssembler::ContentPtr receive(ContentAssembler& assembler, std::string_view table) {
  assembler.begin(
      {.id = wire::id::basic_deliver, .delivery_tag = 1, .exchange = "shop", .routing_key = "orders"});
  const std::string header =
      number(60, 2) + number(0, 2) + number(0, 8) + number(0x2000, 2) + long_string(table);
  return assembler.add({.type = wire::FrameType::header, .channel = 1, .payload = header});
}

// What the allocator has given away. Under a sanitizer, which has an allocator of its own, always the same.
std::size_t bytes_in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

}  // namespace

TEST_CASE("a delivery whose headers nobody reads takes at most four times its bytes on the wire") {
  constexpr std::size_t deliveries = 32;
  struct Case {
    const char* what;
    std::string table;
  };
  const std::string one_byte(std::size_t{128} * 1'024 - 64, 'V');
  std::string tiny_entries;  // an empty key and a void: two bytes
  while (tiny_entries.size() < one_byte.size()) tiny_entries += std::string("\0V", 2);
  std::string nested;
  while (nested.size() < one_byte.size()) nested += "F" + number(0, 4);
  for (const Case& each :
       {Case{"one-byte entries", entry("a", 'A', long_string(one_byte))},
        Case{"empty tables", entry("a", 'A', long_string(nested))}, Case{"empty keys", tiny_entries}}) {
    ContentAssembler assembler;
    std::vector<ContentAssembler::ContentPtr> received;
    received.reserve(deliveries);
    const std::size_t before = bytes_in_use();
    for (std::size_t i = 0; i < deliveries; ++i) received.push_back(receive(assembler, each.table));
    for (const auto& content : received) {  // none of which looks at an entry
      REQUIRE(content->fault.empty());
      const FieldTable& headers = content->delivery.headers();
      CHECK_FALSE(headers.empty());
      CHECK(headers.size() >= 1);
      CHECK_FALSE(headers.contains("x-death"));
      CHECK(headers.find("x-death") == nullptr);
      CHECK(content->delivery.retry().attempt == 1);
    }
    const std::size_t taken = bytes_in_use() - before;
    const std::size_t wire = deliveries * each.table.size();
    INFO(each.what << ": " << taken / deliveries << " bytes each, of " << each.table.size()
                   << " on the wire");
    CHECK(taken < 4 * wire);
    CHECK(received[0]->delivery.headers().begin() != nullptr);  // decoded, about forty times its bytes
    // Recycled, it keeps none of that.
    for (auto& content : received) assembler.recycle(std::move(content));
    CHECK(bytes_in_use() - before < wire / 2);
  }
}

TEST_CASE("headers that arrived read as what was sent") {
  const FieldTable expected = decoded(every_type());
  const FieldTable headers = arrived(every_type());
  CHECK(headers.size() == expected.size());
  CHECK_FALSE(headers.empty());
  const FieldTable unread = headers;  // a copy of what is still encoded
  for (const FieldEntry& each : expected) {
    INFO(each.key);
    CHECK(headers.contains(each.key));
    CHECK(wire::integer_of(headers, each.key) == each.value.as_integer());
    CHECK(wire::string_of(headers, each.key) == each.value.as_string());
    CHECK(wire::integer_of(expected, each.key) == each.value.as_integer());
    CHECK(wire::string_of(expected, each.key) == each.value.as_string());
  }
  for (const FieldEntry& each : expected) {
    REQUIRE(headers.find(each.key) != nullptr);
    CHECK(*headers.find(each.key) == each.value);
    CHECK(wire::integer_of(headers, each.key) == each.value.as_integer());  // once it is decoded, too
    CHECK(wire::string_of(headers, each.key) == each.value.as_string());
  }
  CHECK(headers == expected);
  CHECK(unread == expected);
  CHECK(FieldTable(headers) == expected);
  CHECK(headers.size() == expected.size());
  CHECK_FALSE(headers.contains("none"));
  CHECK(headers.find("none") == nullptr);
  CHECK_FALSE(wire::integer_of(headers, "none"));
}

TEST_CASE("headers give the value of a key by its kind, and stay encoded") {
  const FieldTable headers = arrived(every_type());
  const FieldTable expected = decoded(every_type());
  std::size_t boxes = 0;
  for (const FieldEntry& each : expected) {
    CHECK(headers.integer(each.key) == each.value.as_integer());
    CHECK(headers.string(each.key) == each.value.as_string());
    CHECK(headers.number(each.key) == each.value.as_number());
    const bool* boolean = each.value.get_if<bool>();
    CHECK(headers.boolean(each.key) == (boolean == nullptr ? std::nullopt : std::optional(*boolean)));
    const Timestamp* timestamp = each.value.get_if<Timestamp>();
    CHECK(headers.timestamp(each.key) == (timestamp == nullptr ? std::nullopt : std::optional(*timestamp)));
    boxes += headers.number(each.key) ? 1 : 0;
  }
  CHECK(boxes == 11);
  CHECK(headers.number("double") == 2.25);
  CHECK(headers.number("float") == 1.5);
  CHECK(headers.number("decimal") == 3.14);
  CHECK(headers.boolean("yes") == true);
  CHECK(headers.timestamp("time") == Timestamp(std::chrono::seconds(1'700'000'000)));
  CHECK_FALSE(headers.integer("none"));
  CHECK_FALSE(headers.string("none"));
  const std::string_view text = headers.string("string").value();
  CHECK(headers.begin()->key == "void");  // decodes them
  CHECK(text == "text");
  CHECK(headers.string("string")->data() == text.data());
}

TEST_CASE("headers that arrived change as any table does") {
  const FieldTable expected = decoded(every_type());
  SECTION("set") {
    FieldTable headers = arrived(every_type());
    const FieldTable copy = headers;
    FieldTable other = expected;
    headers.set("i8", "another");
    headers.append("new", 1);
    other.set("i8", "another");
    other.append("new", 1);
    CHECK(headers == other);
    CHECK(headers.size() == other.size());
    CHECK(headers.contains("new"));
    CHECK(copy == expected);
  }
  SECTION("moved to itself") {
    FieldTable headers = arrived(every_type());
    (void)headers.begin();
    FieldTable& same = headers;
    headers = std::move(same);
    CHECK(headers == expected);
    CHECK(headers.size() == expected.size());
  }
  SECTION("erase") {
    FieldTable headers = arrived(every_type());
    FieldTable other = expected;
    CHECK_FALSE(headers.erase("none"));
    CHECK(headers.erase("table"));
    CHECK(other.erase("table"));
    CHECK(headers == other);
    CHECK_FALSE(headers.contains("table"));
  }
  SECTION("moved, assigned, cleared, and encoded again") {
    FieldTable headers = arrived(every_type());
    FieldTable taken = std::move(headers);
    CHECK(taken == expected);
    headers = taken;
    CHECK(headers == expected);
    headers.clear();
    CHECK(headers.empty());
    CHECK(headers.size() == 0);
    CHECK(headers == FieldTable());
    CHECK_FALSE(headers.contains("i8"));
    headers.set("own", 1);
    CHECK(headers == FieldTable{{"own", 1}});
    std::optional<std::int64_t> stamp;
    wire::TableAccess::assign(headers, entry("other", 't', "\1"), stamp);
    CHECK(headers == FieldTable{{"other", true}});
    wire::TableAccess::assign(headers, "", stamp);
    CHECK(headers.empty());
    CHECK(headers == FieldTable());
  }
}

TEST_CASE("what arrives malformed is refused then, for the reason that decoding it would give") {
  std::string bytes = entry("all", 'F', long_string(every_type())) + every_type();
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    CHECK(fault([&] { arrived(part); }) == fault([&] { decoded(part); }));
  }
  std::size_t refused = 0;
  std::uint64_t random = 1;  // always these
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = bytes;
    for (int j = 0; j < 2; ++j) {
      random = random * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
      changed[static_cast<std::size_t>(random >> 33U) % changed.size()] = static_cast<char>(random >> 24U);
    }
    const std::string expected = fault([&] { decoded(changed); });
    std::optional<std::int64_t> stamp;
    FieldTable headers;
    const std::string found = fault([&] { wire::TableAccess::assign(headers, changed, stamp); });
    if (found != expected) FAIL(found << " in place of " << expected);
    refused += expected.empty() ? 0 : 1;
    if (!expected.empty()) continue;
    const FieldTable eager = decoded(changed);
    if (headers.size() != eager.size()) FAIL("another size");
    // Compared by their bytes: a changed number may be NaN, which equals nothing.
    for (const FieldEntry& each : eager) {
      if (!headers.contains(each.key)) FAIL("no " << each.key);
    }
    (void)headers.begin();
  }
  CHECK(refused > 1'000);
  CHECK(refused < 19'000);
  CHECK(fault([&] { arrived(entry("k", 'L', number(std::uint64_t{1} << 63, 8))); }) ==
        "an unsigned field is above 2^63 - 1");
  std::string deep;
  for (int i = 0; i < 31; ++i) deep = entry("t", 'F', long_string(deep));
  CHECK(fault([&] { arrived(deep); }).empty());
  deep = entry("t", 'A', long_string("F" + long_string(deep)));
  CHECK(fault([&] { arrived(deep); }) == "tables and arrays are nested deeper than 32 levels");
}

TEST_CASE("the stamp is left out of the headers, wherever it stands and however often") {
  const std::string mine = entry("mine", 'I', number(2, 4));
  const std::string stamp = entry("warren-stamp", 'l', number(42, 8));
  const FieldTable expected{{"mine", 2}};
  std::optional<std::int64_t> found;
  for (const std::string& bytes : {stamp + mine, mine + stamp, stamp + mine + stamp, mine + stamp + stamp,
                                   stamp + entry("warren-stamp", 'S', long_string("another")) + mine}) {
    const FieldTable headers = arrived(bytes, &found);
    CHECK(found == 42);
    CHECK(headers.size() == 1);
    CHECK(headers == expected);
  }
  CHECK(arrived(stamp, &found).empty());
  CHECK(found == 42);
  const FieldTable other =
      arrived(entry("warren-stamp", 'S', long_string("somebody else's")) + stamp, &found);
  CHECK_FALSE(found);
  CHECK(other.size() == 2);
}

TEST_CASE("many threads may read one delivery's headers, whoever is first") {
  constexpr int threads = 4;
  for (int round = 0; round < 200; ++round) {
    ContentAssembler assembler;
    const ContentAssembler::ContentPtr content = receive(assembler, every_type());
    const Delivery& delivery = content->delivery;
    std::atomic<int> ready{0};
    std::atomic<int> right{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < threads; ++i) {
      readers.emplace_back([&, i] {
        ++ready;
        while (ready < threads) std::this_thread::yield();
        const FieldTable& headers = delivery.headers();
        bool fine = true;
        if (i % 2 == 0) fine = headers.find("string")->as_string() == "text";
        const Delivery copy = delivery;
        fine = fine && headers.size() == 18 && headers.contains("table") && copy.headers().size() == 18;
        std::size_t entries = 0;
        for (const FieldEntry& each : headers) entries += each.key.empty() ? 0 : 1;
        right += fine && entries == 18 && copy.headers() == headers ? 1 : 0;
      });
    }
    for (std::thread& reader : readers) reader.join();
    REQUIRE(right == threads);
  }
}
