// Frames and methods: raw bytes as a peer's, then what warren itself writes, read back.
#include <algorithm>
#include <optional>
#include <string>

#include <warren/error.hpp>
#include <warren/message.hpp>

#include "fuzz.hpp"
#include "values/utf8.hpp"
#include "wire/broker_text.hpp"
#include "wire/frame.hpp"
#include "wire/malformed.hpp"
#include "wire/method_decoder.hpp"
#include "wire/methods.hpp"
#include "wire/properties_codec.hpp"
#include "wire/status.hpp"

namespace {

using namespace warren;
using fuzz::expect;
using fuzz::Input;

bool lies_in(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void read_method(std::string_view payload, wire::MethodDecoder& decoder) {
  const wire::InboundMethod method = decoder.decode(payload);
  expect(method.id == wire::method_id(payload), "a method has its number");
  for (const std::string_view text : {method.text, method.exchange, method.routing_key, method.name})
    expect(lies_in(text, payload), "a method's text lies in its payload");
  (void)wire::is_permanent_close(method.code, method.text);
  (void)wire::is_permanent_channel_close(method.code, method.text);
  (void)wire::is_denied_transient_queue(method.code, method.text);
  (void)wire::is_named(method.exchange, method.text);
  if (const auto missing = wire::missing_queue(method.text))
    expect(lies_in(*missing, payload), "the name of a missing queue lies in its payload");
  (void)is_utf8(method.text);
}

void read_raw(Input input) {
  constexpr std::uint32_t maxima[] = {8'192, 131'072, 0, 4'096};
  const std::uint32_t frame_max = maxima[input.below(std::size(maxima))];
  wire::MethodDecoder decoder;
  std::string_view rest = input.rest();
  for (;;) {
    const std::string_view before = rest;
    const std::size_t size = wire::frame_size(rest);
    const std::optional<wire::Frame> frame = wire::next_frame(rest, frame_max);
    if (!frame) {
      expect(rest == before, "what is not whole stays");
      return;
    }
    expect(before.size() - rest.size() == size, "a frame takes what it says");
    expect(lies_in(frame->payload, before), "a payload lies in the input");
    try {
      if (frame->type == wire::FrameType::method) read_method(frame->payload, decoder);
      if (frame->type == wire::FrameType::header) {
        const wire::ContentHeader header = wire::decode_content_header(frame->payload);
        Properties properties;
        std::optional<std::int64_t> stamp;
        wire::decode_properties(header.properties, properties, stamp);
      }
    } catch (const wire::MalformedFrame&) {  // the frames behind it are looked at, too
    }
  }
}

// What a client says, one method of each kind; the ones that a broker says as well are read back.
void write_methods(Input input) {
  const std::string_view name = input.text();
  const std::string_view other = input.text();
  const auto channel = input.number<std::uint16_t>();
  const auto tag = input.number<std::uint64_t>();
  const std::uint8_t flags = input.byte();
  const auto flag = [&](unsigned bit) { return ((flags >> bit) & 1U) != 0; };
  const FieldTable arguments{{"x-" + std::string(input.text()), std::string(input.text())}};
  const auto has = [&](const wire::InboundMethod& method, std::uint32_t id) {
    expect(method.id == id, "a method is read as what was written");
  };
  wire::MethodDecoder decoder;
  const auto written = [&](auto&& write, auto&& judge) {
    wire::Bytes out;
    try {
      write(out);
    } catch (const InvalidArgument&) {
      expect(out.empty(), "what can't be sent leaves nothing");
      const auto fits = [](std::string_view text) { return text.size() <= 255 && is_utf8(text); };
      expect(!fits(name) || !fits(other) || !fits(arguments.begin()->key),
             "only what is too long, or is not UTF-8, can't be sent");
      return;
    }
    std::string_view rest(out.data(), out.size());
    const auto frame = wire::next_frame(rest, 0);
    expect(frame.has_value() && rest.empty(), "one whole frame is written");
    judge(decoder.decode(frame->payload));
  };
  const auto any = [](const wire::InboundMethod&) {};
  written([&](wire::Bytes& out) { wire::connection_close(out, 320, name); },
          [&](const wire::InboundMethod& method) {
            has(method, wire::id::connection_close);
            expect(method.code == 320 && method.text == name, "connection.close says its reason");
          });
  written([&](wire::Bytes& out) { wire::channel_close(out, channel, 404, name); },
          [&](const wire::InboundMethod& method) {
            has(method, wire::id::channel_close);
            expect(method.code == 404 && method.text == name, "channel.close says its reason");
          });
  written([&](wire::Bytes& out) { wire::basic_ack(out, channel, tag, flag(0)); },
          [&](const wire::InboundMethod& method) {
            has(method, wire::id::basic_ack);
            expect(method.delivery_tag == tag && method.multiple == flag(0), "basic.ack says what");
          });
  written([&](wire::Bytes& out) { wire::basic_nack(out, channel, tag, flag(0), flag(1)); },
          [&](const wire::InboundMethod& method) {
            has(method, wire::id::basic_nack);
            expect(method.delivery_tag == tag && method.multiple == flag(0) && method.requeue == flag(1),
                   "basic.nack says what");
          });
  written([&](wire::Bytes& out) { wire::basic_cancel(out, channel, name); },
          [&](const wire::InboundMethod& method) {
            has(method, wire::id::basic_cancel);
            expect(method.name == name, "basic.cancel says whom");
          });
  written([&](wire::Bytes& out) { wire::basic_cancel_ok(out, channel, name); }, any);
  written([&](wire::Bytes& out) { wire::connection_close_ok(out); }, any);
  written([&](wire::Bytes& out) { wire::channel_open(out, channel); }, any);
  written([&](wire::Bytes& out) { wire::channel_close_ok(out, channel); }, any);
  written(
      [&](wire::Bytes& out) {
        wire::exchange_declare(out, channel, name, other, {flag(0), flag(1), flag(2), flag(3)}, arguments);
      },
      any);
  written([&](wire::Bytes& out) { wire::exchange_delete(out, channel, name, flag(0)); }, any);
  written([&](wire::Bytes& out) { wire::exchange_bind(out, channel, name, other, name, arguments); }, any);
  written([&](wire::Bytes& out) { wire::exchange_unbind(out, channel, name, other, name, arguments); }, any);
  written(
      [&](wire::Bytes& out) {
        wire::queue_declare(out, channel, name, {flag(0), flag(1), flag(2), flag(3)}, arguments);
      },
      any);
  written([&](wire::Bytes& out) { wire::queue_bind(out, channel, name, other, name, arguments); }, any);
  written([&](wire::Bytes& out) { wire::queue_unbind(out, channel, name, other, name, arguments); }, any);
  written([&](wire::Bytes& out) { wire::queue_purge(out, channel, name); }, any);
  written([&](wire::Bytes& out) { wire::queue_delete(out, channel, name, flag(0), flag(1)); }, any);
  written([&](wire::Bytes& out) { wire::basic_qos(out, channel, static_cast<std::uint16_t>(tag)); }, any);
  written(
      [&](wire::Bytes& out) {
        wire::basic_consume(out, channel, name, other, {flag(0), flag(1), flag(2)}, arguments);
      },
      any);
  written([&](wire::Bytes& out) { wire::basic_get(out, channel, name, flag(0)); }, any);
  written([&](wire::Bytes& out) { wire::basic_reject(out, channel, tag, flag(0)); }, any);
  written([&](wire::Bytes& out) { wire::confirm_select(out, channel); }, any);
}

// The frames of one message, put together again.
std::string body_of(const wire::ContentFrames& frames, std::uint16_t channel, std::uint32_t frame_max) {
  std::string bytes;
  while (bytes.size() < frames.size()) {
    const std::string_view chunk = frames.chunk(bytes.size());
    expect(!chunk.empty(), "there is a chunk below the size");
    bytes += chunk;
  }
  std::string_view rest = bytes;
  std::string body;
  std::uint64_t announced = 0;
  for (int i = 0; const auto frame = wire::next_frame(rest, frame_max); ++i) {
    expect(frame->channel == channel, "a frame is its channel's");
    expect(frame->payload.size() + wire::frame_overhead <= frame_max, "a frame is within frame_max");
    if (i == 1) announced = wire::decode_content_header(frame->payload).body_size;
    if (i > 1) body += frame->payload;
  }
  expect(rest.empty(), "the frames are whole");
  expect(announced == body.size(), "the header says the body's size");
  return body;
}

void write_content(Input input) {
  const std::uint32_t frame_max = 8'192 + input.number<std::uint16_t>() % 4'096U;
  const std::uint32_t second_max = 8'192 + input.number<std::uint16_t>() % 4'096U;
  const std::string_view exchange = input.text();
  const std::string_view key = input.text();
  Properties properties;
  if (input.flag()) properties.content_type = input.text();
  if (input.flag()) properties.expiration = std::chrono::milliseconds(input.number<std::int64_t>());
  if (input.flag()) properties.priority = input.byte();
  if (input.flag()) properties.timestamp = Timestamp(std::chrono::seconds(input.number<std::int64_t>()));
  if (input.flag()) properties.headers.set(input.text(), std::string(input.text()));
  const std::optional<std::int64_t> stamp =
      input.flag() ? std::optional(input.number<std::int64_t>()) : std::nullopt;
  std::string body(input.number<std::uint32_t>() % 200'000U, 'b');
  const std::string_view start = input.rest().substr(0, body.size());
  std::ranges::copy(start, body.begin());
  const Message message(body, properties);
  wire::ContentFrames frames;
  try {
    frames.assign(5, exchange, key, true, message, stamp, frame_max, DeliveryMode::persistent);
  } catch (const InvalidArgument&) {
    return;
  }
  expect(body_of(frames, 5, frame_max) == body, "a body is sent as it is");
  try {
    frames.refit(9, second_max);
  } catch (const InvalidArgument&) {
    return;
  }
  expect(body_of(frames, 9, std::max(frame_max, second_max)) == body, "a body is sent again as it is");
}

}  // namespace

void fuzz::fuzz(Input input) {
  switch (input.below(3)) {
    case 0:
      try {
        read_raw(input);
      } catch (const wire::MalformedFrame&) {
      }
      return;
    case 1:
      return write_methods(input);
    default:
      return write_content(input);
  }
}
