#include <warren/error.hpp>

#include "support/catch.hpp"
#include "wire/frame.hpp"

using warren::Properties;
using warren::wire::Bytes;
using warren::wire::ContentFrames;
using warren::wire::FrameType;

namespace {

// What is expected on the wire.
Bytes message(const std::string& body, std::uint16_t channel, std::uint32_t frame_max,
              const Properties& properties = {}) {
  Bytes frames;
  warren::wire::append_content(frames, channel, "exchange", "key", true, properties, 7, body, frame_max,
                               warren::DeliveryMode::persistent);
  return frames;
}

// Its own body, not the message's: only a large one that is handed over is shared.
ContentFrames copied(const std::string& body, std::uint16_t channel, std::uint32_t frame_max,
                     const Properties& properties = {}) {
  return {.bytes = std::make_shared<Bytes>(message(body, channel, frame_max, properties))};
}

ContentFrames shared(const std::string& body, std::uint16_t channel, std::uint32_t frame_max,
                     const Properties& properties = {}) {
  ContentFrames frames;
  frames.assign(channel, "exchange", "key", true, warren::Message(body, properties), 7, frame_max,
                warren::DeliveryMode::persistent);
  CHECK(frames.body != nullptr);
  return frames;
}

Bytes bytes(const ContentFrames& frames) {
  Bytes all;
  while (all.size() < frames.size()) {
    const std::string_view chunk = frames.chunk(all.size());
    REQUIRE_FALSE(chunk.empty());
    all.insert(all.end(), chunk.begin(), chunk.end());
  }
  return all;
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
    ContentFrames frames = copied(body, 1, 8'192);
    frames.refit(0xFFEE, 8'192);
    CHECK(bytes(frames) == message(body, 0xFFEE, 8'192));
  }
}

TEST_CASE("a body above the new frame_max is split, and stays the same") {
  for (const std::size_t size : {8'184U, 8'185U, 16'368U, 16'369U, 131'064U, 131'065U, 300'000U}) {
    INFO(size);
    const std::string body = body_of(size);
    ContentFrames frames = copied(body, 3, 131'072);
    frames.refit(4, 8'192);
    CHECK(check(bytes(frames), 4, 8'192) == body);
    // Of one frame, into those that would have been encoded; of several, each is split by itself.
    if (size <= 131'064) CHECK(bytes(frames) == message(body, 4, 8'192));
  }
}

TEST_CASE("frames below a larger frame_max stay as they are, and twice is as once") {
  const std::string body = body_of(100'000);
  ContentFrames frames = copied(body, 3, 8'192);
  frames.refit(9, 131'072);
  CHECK(bytes(frames) == message(body, 9, 8'192));
  frames.refit(10, 16'384);
  frames.refit(11, 16'384);
  CHECK(check(bytes(frames), 11, 16'384) == body);
}

TEST_CASE("a body that is shared goes out as one that is copied, for any frame_max") {
  for (const std::size_t size : {65'536U, 131'064U, 131'065U, 262'128U, 300'000U}) {
    INFO(size);
    const std::string body = body_of(size);
    ContentFrames frames = shared(body, 3, 131'072);
    CHECK(bytes(frames) == message(body, 3, 131'072));
    frames.refit(4, 8'192);
    CHECK(bytes(frames) == message(body, 4, 8'192));
    frames.refit(5, 0);
    CHECK(bytes(frames) == message(body, 5, 0));
    frames.refit(0xFFEE, 131'072);
    CHECK(bytes(frames) == message(body, 0xFFEE, 131'072));
  }
}

TEST_CASE("a header that fits no frame any more is refused, and the frames stay as they were") {
  Properties properties;
  properties.headers.set("large", std::string(20'000, 'h'));
  for (const bool is_shared : {false, true}) {
    const std::string body = body_of(is_shared ? 200'000 : 4);
    ContentFrames frames =
        is_shared ? shared(body, 1, 131'072, properties) : copied(body, 1, 131'072, properties);
    CHECK_THROWS_AS(frames.refit(2, 8'192), warren::InvalidArgument);
    CHECK(bytes(frames) == message(body, 1, 131'072, properties));
    CHECK_NOTHROW(frames.refit(2, 131'072));
    CHECK(bytes(frames) == message(body, 2, 131'072, properties));
  }
}

TEST_CASE("no limit of frame_max splits nothing") {
  ContentFrames frames = copied(body_of(300'000), 1, 131'072);
  frames.refit(2, 0);
  CHECK(bytes(frames) == message(body_of(300'000), 2, 131'072));
}

TEST_CASE("a message that can't be encoded leaves its frames empty") {
  ContentFrames frames = shared(body_of(100'000), 1, 131'072);
  CHECK_THROWS_AS(
      frames.assign(1, std::string(256, 'e'), "", true, warren::Message(body_of(100'000)), {}, 131'072, {}),
      warren::InvalidArgument);
  CHECK(frames.size() == 0);
  frames.assign(1, "exchange", "key", true, warren::Message("small"), 7, 131'072,
                warren::DeliveryMode::persistent);
  CHECK(bytes(frames) == message("small", 1, 131'072));
}
