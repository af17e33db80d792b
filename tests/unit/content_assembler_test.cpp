#include <string>

#include "engine/content_assembler.hpp"
#include "support/catch.hpp"
#include "wire/malformed.hpp"
#include "wire/table_codec.hpp"

using warren::engine::ContentAssembler;
using warren::wire::Frame;
using warren::wire::FrameType;
using warren::wire::MalformedFrame;

namespace {

// The frames of a message as the peer would send them; the first is the method.
struct Scripted {
  explicit Scripted(std::string_view body, std::uint32_t frame_max = 8'192) {
    warren::wire::append_content(bytes, 1, "shop", "orders", false, {.content_type = "text/plain"}, {}, body,
                                 frame_max);
    std::string_view input(bytes.data(), bytes.size());
    while (auto frame = warren::wire::next_frame(input, frame_max)) frames.push_back(*frame);
  }
  warren::wire::Bytes bytes;
  std::vector<Frame> frames;
};

warren::wire::InboundMethod deliver(std::uint64_t tag) {
  return {.id = warren::wire::id::basic_deliver,
          .delivery_tag = tag,
          .exchange = "shop",
          .routing_key = "orders"};
}

}  // namespace

TEST_CASE("method, header and bodies become one message, whatever the split") {
  for (const std::size_t size : {0u, 1u, 8'183u, 8'184u, 8'185u, 50'000u}) {
    const std::string body(size, 'x');
    const Scripted script(body);
    ContentAssembler assembler;
    assembler.begin(deliver(7));
    ContentAssembler::ContentPtr content;
    for (std::size_t i = 1; i < script.frames.size(); ++i) {
      REQUIRE(content == nullptr);
      content = assembler.add(script.frames[i]);
    }
    REQUIRE(content != nullptr);
    CHECK(content->delivery.body() == body);
    CHECK(content->delivery.delivery_tag() == 7);
    CHECK(content->delivery.exchange() == "shop");
    CHECK(content->delivery.properties().content_type == "text/plain");
    CHECK_FALSE(assembler.open());
  }
}

TEST_CASE("frames out of order are refused") {
  const Scripted script("body");
  const Frame header = script.frames.at(1);
  const Frame body = script.frames.at(2);
  ContentAssembler assembler;
  CHECK_THROWS_AS(assembler.add(header), MalformedFrame);
  CHECK_THROWS_AS(assembler.add(body), MalformedFrame);
  assembler.begin(deliver(1));
  CHECK_THROWS_AS(assembler.add(body), MalformedFrame);
  CHECK_THROWS_AS(assembler.begin(deliver(2)), MalformedFrame);
  CHECK(assembler.add(header) == nullptr);
  CHECK_THROWS_AS(assembler.add(header), MalformedFrame);
  CHECK_THROWS_AS(assembler.add({FrameType::body, 1, "more than it said"}), MalformedFrame);
  assembler.reset();
  CHECK_FALSE(assembler.open());
}

TEST_CASE("a recycled content carries nothing over") {
  ContentAssembler assembler;
  const Scripted first("first");
  assembler.begin(deliver(1));
  CHECK(assembler.add(first.frames[1]) == nullptr);
  auto content = assembler.add(first.frames[2]);
  REQUIRE(content != nullptr);
  const auto* memory = content.get();
  assembler.recycle(std::move(content));

  const Scripted second("");
  assembler.begin({.id = warren::wire::id::basic_get_ok, .delivery_tag = 2});
  content = assembler.add(second.frames[1]);
  REQUIRE(content != nullptr);
  CHECK(content.get() == memory);
  CHECK(content->delivery.body().empty());
  CHECK(content->delivery.exchange().empty());
  CHECK(content->method == warren::wire::id::basic_get_ok);
}
