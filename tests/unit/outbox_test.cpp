#include <poll.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "engine/outbox.hpp"
#include "support/catch.hpp"

using warren::Message;
using warren::engine::Bytes;
using warren::engine::ContentFrames;
using warren::engine::Outbox;
using warren::engine::Output;
using namespace std::chrono_literals;

namespace {

class RecordingWriter final : public warren::engine::DirectWriter {
 public:
  std::size_t write(std::span<const std::string_view> chunks) noexcept override {
    const std::size_t before = written.size();
    for (const std::string_view chunk : chunks) {
      const std::string_view taken = chunk.substr(0, room);
      written += taken;
      room -= taken.size();
    }
    return written.size() - before;
  }
  std::string written;
  std::size_t room = 1'000'000;
};

auto text(std::string bytes) {
  return [bytes = std::move(bytes)](Bytes& out) { out.insert(out.end(), bytes.begin(), bytes.end()); };
}

bool woken(Outbox& outbox) {
  pollfd descriptor{outbox.wakeup().descriptor(), POLLIN, 0};
  const bool readable = ::poll(&descriptor, 1, 0) == 1;
  outbox.wakeup().clear();
  return readable;
}

// What is in it, as if each write took at most `most` bytes.
std::string written(Output& out, std::size_t most) {
  std::string all;
  while (!out.empty()) {
    RecordingWriter writer;
    writer.room = most;
    Output::Chunks chunks;
    const std::size_t count = out.chunks(chunks);
    out.advance(writer.write({chunks.data(), count}));
    all += writer.written;
  }
  return all;
}

std::string taken(Outbox& outbox) {
  Output out;
  return outbox.take(out) ? written(out, 1'000'000) : std::string();
}

ContentFrames frames_of(std::size_t size, char byte) {
  return {.bytes = std::make_shared<Bytes>(size, byte)};
}

}  // namespace

TEST_CASE("an entry is written by its caller only where the I/O thread sleeps and nothing is ahead") {
  RecordingWriter writer;
  Outbox outbox(1024);
  outbox.open(&writer);
  CHECK(outbox.append(Outbox::Entry::lone, text("a")) == Outbox::Admission::accepted);
  CHECK(writer.written.empty());  // not asleep yet
  CHECK(taken(outbox) == "a");
  CHECK(taken(outbox).empty());  // asleep from here on
  outbox.append(Outbox::Entry::lone, text("b"));
  CHECK(writer.written == "b");
  CHECK_FALSE(woken(outbox));
}

TEST_CASE("what a caller could not write whole is left to the I/O thread, in order") {
  RecordingWriter writer;
  writer.room = 2;
  Outbox outbox(1024);
  outbox.open(&writer);
  CHECK(taken(outbox).empty());
  outbox.append(Outbox::Entry::control, text("12345"));
  CHECK(writer.written == "12");
  CHECK(woken(outbox));
  writer.room = 100;
  outbox.append(Outbox::Entry::control, text("6"));
  CHECK_FALSE(woken(outbox));
  CHECK(taken(outbox) == "3456");
}

TEST_CASE("a burst of bulk entries wakes the I/O thread once and is batched") {
  RecordingWriter writer;
  Outbox outbox(1024);
  outbox.open(nullptr);
  CHECK(taken(outbox).empty());
  outbox.append(Outbox::Entry::bulk, text("a"));
  CHECK(woken(outbox));
  outbox.append(Outbox::Entry::bulk, text("b"));
  CHECK_FALSE(woken(outbox));
  CHECK(taken(outbox) == "ab");
}

TEST_CASE("a full outbox refuses, admits control, and wakes who waits for space") {
  Outbox outbox(4);
  outbox.open(nullptr);
  CHECK(outbox.append(Outbox::Entry::bulk, text("much more than four")) == Outbox::Admission::accepted);
  CHECK(outbox.append(Outbox::Entry::bulk, text("x")) == Outbox::Admission::full);
  CHECK(outbox.append(Outbox::Entry::control, text("c")) == Outbox::Admission::accepted);
  CHECK_FALSE(outbox.wait_for_space(std::chrono::steady_clock::now() + 1ms));
  std::string seen;
  std::thread io([&] { seen = taken(outbox); });
  CHECK(outbox.wait_for_space(std::chrono::steady_clock::now() + 10s));
  io.join();
  CHECK(seen == "much more than fourc");
  CHECK(outbox.append(Outbox::Entry::bulk, text("x")) == Outbox::Admission::accepted);
}

TEST_CASE("closing wakes waiters and refuses all") {
  Outbox outbox(1);
  outbox.open(nullptr);
  outbox.append(Outbox::Entry::bulk, text("xy"));
  std::thread closer([&] { outbox.close(); });
  CHECK(outbox.wait_for_space(std::chrono::steady_clock::now() + 10s));
  closer.join();
  CHECK(outbox.append(Outbox::Entry::control, text("x")) == Outbox::Admission::closed);
  CHECK(taken(outbox).empty());
}

TEST_CASE("an encoder that throws leaves the outbox as it was") {
  Outbox outbox(64);
  outbox.open(nullptr);
  CHECK_THROWS_AS(outbox.append(Outbox::Entry::lone, [](Bytes&) { throw std::runtime_error("no"); }),
                  std::runtime_error);
  CHECK(taken(outbox).empty());
}

TEST_CASE("large frames are referred to until they are written, and keep their place") {
  RecordingWriter writer;
  Outbox outbox(1 << 20);
  outbox.open(&writer);
  const ContentFrames large = frames_of(100'000, 'L');
  const ContentFrames small = frames_of(10, 's');
  const auto append = [&](const ContentFrames& frames) {
    CHECK(outbox.append(Outbox::Entry::bulk, frames, [] { return true; }) == Outbox::Admission::accepted);
  };
  append(small);
  append(large);
  append(large);
  outbox.append(Outbox::Entry::control, text("control"));
  append(small);
  append(large);
  CHECK(large.bytes.use_count() == 4);
  CHECK(small.bytes.use_count() == 1);

  Output out;
  CHECK(outbox.take(out));
  CHECK(out.size() == 300'000 + 20 + 7);
  const std::string l(100'000, 'L');
  CHECK(written(out, 33'333) == std::string(10, 's') + l + l + "control" + std::string(10, 's') + l);
  Output::Chunks none;
  CHECK(out.chunks(none) == 0);
  CHECK(large.bytes.use_count() == 4);  // let go of only under the outbox's lock
  outbox.discard(out);
  CHECK(large.bytes.use_count() == 1);

  SECTION("a part that a caller wrote itself is not written again") {
    CHECK_FALSE(outbox.take(out));
    writer.room = 40'000;
    append(large);
    CHECK(woken(outbox));
    CHECK(writer.written == l.substr(0, 40'000));
    CHECK(taken(outbox) == l.substr(40'000));
  }
  SECTION("closing forgets them") {
    append(large);
    outbox.close();
    CHECK(large.bytes.use_count() == 1);
  }
  SECTION("what is not admitted is not sent") {
    CHECK(outbox.append(Outbox::Entry::bulk, large, [] { return false; }) == Outbox::Admission::accepted);
    CHECK_THROWS_AS(
        outbox.append(Outbox::Entry::bulk, large, []() -> bool { throw std::runtime_error("no"); }),
        std::runtime_error);
    CHECK(large.bytes.use_count() == 1);
    CHECK(taken(outbox).empty());
  }
}

TEST_CASE("a body that its message shares is written in its frames without being copied") {
  std::string body(300'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 31 + i / 251);
  Bytes expected;
  warren::wire::append_content(expected, 3, "", "orders", true, {}, 7, body, 8'192,
                               warren::DeliveryMode::persistent);

  RecordingWriter writer;
  Outbox outbox(1 << 20);
  outbox.open(&writer);
  const Message message(std::move(body));
  ContentFrames frames;
  frames.assign(3, "", "orders", true, message, 7, 8'192, warren::DeliveryMode::persistent);
  CHECK(frames.size() == expected.size());
  CHECK(frames.body->data() == message.body().data());
  CHECK(frames.bytes->size() < 1'000);
  const auto append = [&] {
    CHECK(outbox.append(Outbox::Entry::lone, frames, [] { return true; }) == Outbox::Admission::accepted);
  };
  append();
  outbox.append(Outbox::Entry::control, text("control"));
  const std::string once(expected.begin(), expected.end());
  Output out;
  CHECK(outbox.take(out));
  CHECK(out.size() == once.size() + 7);

  SECTION("whatever a write takes of it") {
    for (const std::size_t most : {1'000'000U, 100'000U, 8'191U, 7U}) {
      INFO(most);
      Output copy = out;
      CHECK(written(copy, most) == once + "control");
    }
  }
  SECTION("by its caller, too") {
    CHECK(written(out, 1'000'000) == once + "control");
    CHECK_FALSE(outbox.take(out));
    append();
    // One write takes sixteen chunks: the frame ahead of it, eight bodies, and what stands between them.
    CHECK(writer.written.size() > 7 * 8'192);
    CHECK(writer.written + taken(outbox) == once);
  }
}

TEST_CASE("answers that the broker causes are counted until they are written, other entries are not") {
  Outbox outbox(1'000);
  outbox.open(nullptr);
  Output out;
  outbox.append(Outbox::Entry::control, text("ours"));
  CHECK(outbox.unread_answers() == 0);
  outbox.append(Outbox::Entry::answer, text("answer"));
  CHECK(outbox.unread_answers() == 6);
  outbox.take(out);
  CHECK(outbox.unread_answers() == 6);  // taken, and not written yet
  outbox.append(Outbox::Entry::answer, text("two"));
  CHECK(outbox.unread_answers() == 9);
  outbox.take(out);  // so what was taken before is written
  CHECK(outbox.unread_answers() == 3);
  outbox.take(out);
  CHECK(outbox.unread_answers() == 0);
}

TEST_CASE("an entry is written once all up to its end is, by the caller or by the I/O thread") {
  RecordingWriter writer;
  Outbox outbox(1'000);
  outbox.open(&writer);
  Output out;
  outbox.take(out);  // asleep: the next entry is written at once, as far as there is room
  writer.room = 3;
  std::uint64_t end = 0;
  outbox.append(Outbox::Entry::control, text("entry"), &end);
  CHECK(end == 5);
  CHECK_FALSE(outbox.is_written(end));
  CHECK(outbox.is_written(3));
  outbox.take(out);
  CHECK(out.size() == 2);
  CHECK_FALSE(outbox.is_written(end));
  outbox.wrote(2);
  CHECK(outbox.is_written(end));
}
