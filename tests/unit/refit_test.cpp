#include <warren/error.hpp>

#include "support/catch.hpp"
#include "wire/frame.hpp"

using warren::Properties;
using warren::wire::Bytes;
using warren::wire::FrameType;

namespace {

Bytes message(const std::string& body, std::uint16_t channel, std::uint32_t frame_max,
              const Properties& properties = {}) {
  Bytes frames;
  warren::wire::append_content(frames, channel, "exchange", "key", true, properties, 7, body, frame_max,
                               warren::DeliveryMode::persistent);
  return frames;
}

std::string body_of(std::size_t size) {
  std::string body(size, '\0');
  for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<char>(i * 31 + i / 251);
  return body;
}

// The body, once every frame is of the channel and fits.
std::string check(const Bytes& frames, std::uint16_t channel, std::uint32_t frame_max) {
  std::string body;
  std::string_view input(frames.data(), frames.size());
  std::vector<FrameType> types;
  while (const auto frame = warren::wire::next_frame(input, frame_max)) {
    CHECK(frame->channel == channel);
    types.push_back(frame->type);
    if (frame->type == FrameType::body) body += frame->payload;
  }
  CHECK(input.empty());
  REQUIRE(types.size() >= 2);
  CHECK(types[0] == FrameType::method);
  CHECK(types[1] == FrameType::header);
  return body;
}

}  // namespace

TEST_CASE("a message for another channel and the same frames is what would have been encoded for it") {
  for (const std::size_t size : {0U, 1U, 8'184U, 8'185U, 50'000U}) {
    const std::string body = body_of(size);
    Bytes frames = message(body, 1, 8'192);
    warren::wire::refit(frames, 0xFFEE, 8'192);
    CHECK(frames == message(body, 0xFFEE, 8'192));
  }
}

TEST_CASE("a body above the new frame_max is split, and stays the same") {
  for (const std::size_t size : {8'184U, 8'185U, 16'368U, 16'369U, 131'064U, 131'065U, 300'000U}) {
    INFO(size);
    const std::string body = body_of(size);
    Bytes frames = message(body, 3, 131'072);
    warren::wire::refit(frames, 4, 8'192);
    CHECK(check(frames, 4, 8'192) == body);
    // Of one frame, into those that would have been encoded; of several, each is split by itself.
    if (size <= 131'064) CHECK(frames == message(body, 4, 8'192));
  }
}

TEST_CASE("frames below a larger frame_max stay as they are, and twice is as once") {
  const std::string body = body_of(100'000);
  Bytes frames = message(body, 3, 8'192);
  warren::wire::refit(frames, 9, 131'072);
  CHECK(frames == message(body, 9, 8'192));
  warren::wire::refit(frames, 10, 16'384);
  warren::wire::refit(frames, 11, 16'384);
  CHECK(check(frames, 11, 16'384) == body);
}

TEST_CASE("a header that fits no frame any more is refused, and the frames stay as they were") {
  Properties properties;
  properties.headers.set("large", std::string(20'000, 'h'));
  Bytes frames = message("body", 1, 131'072, properties);
  const Bytes before = frames;
  CHECK_THROWS_AS(warren::wire::refit(frames, 2, 8'192), warren::InvalidArgument);
  CHECK(frames == before);
  CHECK_NOTHROW(warren::wire::refit(frames, 2, 131'072));
  CHECK(frames == message("body", 2, 131'072, properties));
}

TEST_CASE("no limit of frame_max splits nothing") {
  Bytes frames = message(body_of(300'000), 1, 131'072);
  warren::wire::refit(frames, 2, 0);
  CHECK(frames == message(body_of(300'000), 2, 131'072));
}
