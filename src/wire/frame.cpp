#include "wire/frame.hpp"

#include <algorithm>
#include <concepts>
#include <string>

#include "wire/byte_reader.hpp"
#include "wire/check.hpp"
#include "wire/method_frame.hpp"
#include "wire/properties_codec.hpp"
#include "wire/scratch.hpp"

namespace warren::inline v0::wire {
namespace {

constexpr char frame_end = static_cast<char>(0xCE);
constexpr std::size_t frame_prefix = 7;
constexpr std::uint32_t unlimited_frame = 128U << 20U;
constexpr std::size_t max_method_frame = 128U << 10U;
constexpr std::size_t first_guess = 64;
constexpr std::size_t large_body = 64U << 10U;

std::size_t payload_limit(std::uint32_t frame_max) {
  const std::size_t limit = frame_max == 0 ? unlimited_frame : frame_max;
  return std::max(limit, frame_overhead + 1) - frame_overhead;  // so small a frame_max is never negotiated
}

template <std::unsigned_integral T>
void put(char* at, T value) noexcept {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    at[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8U * (sizeof(T) - 1 - i)) & 0xFFU);
  }
}

template <std::unsigned_integral T>
void append(Bytes& out, T value) {
  char bytes[sizeof(T)];
  put(bytes, value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

void append_short_string(Bytes& out, std::string_view text) {
  append(out, static_cast<std::uint8_t>(text.size()));
  out.insert(out.end(), text.begin(), text.end());
}

// Removes the appended bytes in the destructor, unless they are kept.
class Rollback {
 public:
  explicit Rollback(Bytes& out) noexcept : out_(out), size_(out.size()) {}
  ~Rollback() {
    if (!kept_) out_.resize(size_);
  }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  void keep() noexcept { kept_ = true; }

 private:
  Bytes& out_;
  std::size_t size_;
  bool kept_ = false;
};

// Starts a frame whose length is not known yet; returns the frame's offset.
std::size_t begin_frame(Bytes& out, FrameType type, std::uint16_t channel) {
  const std::size_t start = out.size();
  append(out, static_cast<std::uint8_t>(type));
  append(out, channel);
  append(out, std::uint32_t{0});
  return start;
}

void finish_frame(Bytes& out, std::size_t start) {
  put(out.data() + start + 3, static_cast<std::uint32_t>(out.size() - start - frame_prefix));
  out.push_back(frame_end);
}

void append_frame(Bytes& out, FrameType type, std::uint16_t channel, std::string_view payload) {
  const std::size_t start = begin_frame(out, type, channel);
  out.insert(out.end(), payload.begin(), payload.end());
  finish_frame(out, start);
}

// rabbitmq-c's encoders need the memory in advance, and do not tell how much. False if `limit` is too small.
template <typename Encode>
bool append_encoded(Bytes& out, std::size_t limit, Encode encode) {
  const std::size_t start = out.size();
  for (std::size_t room = std::min(first_guess, limit);; room = std::min(room * 4, limit)) {
    out.resize(start + room);
    amqp_bytes_t target{};
    target.len = room;
    target.bytes = out.data() + start;
    const int length = encode(target);
    if (length >= 0) {
      out.resize(start + static_cast<std::size_t>(length));
      return true;
    }
    if (room == limit) return false;
  }
}

void append_publish(Bytes& out, std::uint16_t channel, std::string_view exchange,
                    std::string_view routing_key, bool mandatory) {
  const std::size_t start = begin_frame(out, FrameType::method, channel);
  append(out, static_cast<std::uint32_t>(AMQP_BASIC_PUBLISH_METHOD));
  append(out, std::uint16_t{0});  // ticket, unused since 0-9-1
  append_short_string(out, exchange);
  append_short_string(out, routing_key);
  append(out, static_cast<std::uint8_t>(mandatory ? 1 : 0));
  finish_frame(out, start);
}

[[noreturn]] void refuse_properties(std::size_t limit) {
  refuse("basic.publish",
         "the properties do not fit one frame of " + std::to_string(limit + frame_overhead) + " bytes");
}

void append_header(Bytes& out, std::uint16_t channel, amqp_basic_properties_t& properties,
                   std::uint64_t body_size, std::size_t limit) {
  constexpr std::size_t fixed = 12;
  const std::size_t start = begin_frame(out, FrameType::header, channel);
  append(out, static_cast<std::uint16_t>(AMQP_BASIC_CLASS));
  append(out, std::uint16_t{0});  // weight
  append(out, body_size);
  const auto encode = [&](amqp_bytes_t target) {
    return amqp_encode_properties(AMQP_BASIC_CLASS, &properties, target);
  };
  if (limit <= fixed || !append_encoded(out, limit - fixed, encode)) {
    refuse_properties(limit);
  }
  finish_frame(out, start);
}

// Appends all frames before the body.
void append_head(Bytes& out, std::uint16_t channel, std::string_view exchange, std::string_view routing_key,
                 bool mandatory, const Properties& properties, const std::optional<std::int64_t>& stamp,
                 std::size_t body_size, std::uint32_t frame_max, std::optional<DeliveryMode> default_mode) {
  check_short_string(exchange, "basic.publish", "exchange");
  check_short_string(routing_key, "basic.publish", "routing_key");
  if (body_size > max_body) {
    refuse("basic.publish", "the body is " + std::to_string(body_size) + " bytes, above 512 MiB");
  }
  Scratch<Pool> scratch;  // its pages are kept for the next message
  Pool& pool = *scratch;
  pool.recycle();
  amqp_basic_properties_t encodable = to_amqp(properties, pool, stamp, default_mode);
  append_publish(out, channel, exchange, routing_key, mandatory);
  append_header(out, channel, encodable, body_size, payload_limit(frame_max));
}

std::size_t body_frames(std::size_t body_size, std::size_t limit) { return (body_size + limit - 1) / limit; }

// Appends the frame headers and ends for a body that is stored elsewhere.
void append_body_frames(Bytes& out, std::uint16_t channel, std::size_t body_size, std::size_t limit) {
  while (body_size != 0) {
    const std::size_t part = std::min(body_size, limit);
    const std::size_t start = begin_frame(out, FrameType::body, channel);
    put(out.data() + start + 3, static_cast<std::uint32_t>(part));
    out.push_back(frame_end);
    body_size -= part;
  }
}

// False if a body frame is too long. A header frame cannot be split, so it throws.
bool all_fit(std::string_view frames, std::size_t limit) {
  bool fit = true;
  while (const auto frame = next_frame(frames, 0)) {
    if (frame->payload.size() <= limit) continue;
    if (frame->type != FrameType::body) refuse_properties(limit);
    fit = false;
  }
  return fit;
}

void set_channel(Bytes& frames, std::uint16_t channel) {
  for (std::size_t at = 0; at < frames.size();) {
    put(frames.data() + at + 1, channel);
    std::string_view rest(frames.data() + at, frames.size() - at);
    at += next_frame(rest, 0)->payload.size() + frame_overhead;
  }
}

void split(Bytes& frames, std::uint16_t channel, std::size_t limit) {
  Bytes out;
  out.reserve(frames.size() + (frames.size() / limit + 1) * frame_overhead);
  std::string_view input(frames.data(), frames.size());
  while (const auto frame = next_frame(input, 0)) {
    std::string_view payload = frame->payload;
    do {
      append_frame(out, frame->type, channel, payload.substr(0, limit));
      payload.remove_prefix(std::min(limit, payload.size()));
    } while (!payload.empty());
  }
  frames.swap(out);
}

}  // namespace

std::optional<Frame> next_frame(std::string_view& input, std::uint32_t frame_max) {
  if (input.empty()) return std::nullopt;
  ByteReader reader(input);
  const auto type = reader.number<std::uint8_t>();
  switch (static_cast<FrameType>(type)) {
    case FrameType::method:
    case FrameType::header:
    case FrameType::body:
    case FrameType::heartbeat:
      break;
    default:
      throw MalformedFrame("unknown frame type " + std::to_string(type));
  }
  if (input.size() < frame_prefix) return std::nullopt;
  const auto channel = reader.number<std::uint16_t>();
  const std::size_t length = reader.number<std::uint32_t>();
  const bool is_header = static_cast<FrameType>(type) == FrameType::header;
  if (length > payload_limit(frame_max) + (is_header ? header_excess : 0)) {
    throw MalformedFrame("a frame with " + std::to_string(length) + " bytes is above the negotiated maximum");
  }
  if (input.size() < length + frame_overhead) return std::nullopt;
  const std::string_view payload = reader.take(length);
  if (reader.take(1).front() != frame_end) throw MalformedFrame("a frame does not end with 0xCE");
  input = reader.rest();
  return Frame{static_cast<FrameType>(type), channel, payload};
}

std::size_t frame_size(std::string_view input) {
  if (input.size() < frame_prefix) return 0;
  ByteReader reader(input.substr(3));
  return reader.number<std::uint32_t>() + frame_overhead;
}

ContentHeader decode_content_header(std::string_view payload) {
  ByteReader reader(payload);
  ContentHeader header;
  header.class_id = reader.number<std::uint16_t>();
  reader.take(2);  // weight
  header.body_size = reader.number<std::uint64_t>();
  header.properties = reader.rest();
  return header;
}

void append_method(Bytes& out, std::uint16_t channel, amqp_method_number_t method, void* decoded) {
  Rollback rollback(out);
  const std::size_t start = begin_frame(out, FrameType::method, channel);
  append(out, static_cast<std::uint32_t>(method));
  const auto encode = [&](amqp_bytes_t target) { return amqp_encode_method(method, decoded, target); };
  if (!append_encoded(out, max_method_frame - frame_overhead - 4, encode)) {
    const char* name = amqp_method_name(method);
    refuse(name == nullptr ? "method" : name, "the arguments do not fit one frame of 131072 bytes");
  }
  finish_frame(out, start);
  rollback.keep();
}

void append_heartbeat(Bytes& out) {
  Rollback rollback(out);
  finish_frame(out, begin_frame(out, FrameType::heartbeat, 0));
  rollback.keep();
}

void append_content(Bytes& out, std::uint16_t channel, std::string_view exchange,
                    std::string_view routing_key, bool mandatory, const Properties& properties,
                    const std::optional<std::int64_t>& stamp, std::string_view body, std::uint32_t frame_max,
                    std::optional<DeliveryMode> default_mode) {
  Rollback rollback(out);
  append_head(out, channel, exchange, routing_key, mandatory, properties, stamp, body.size(), frame_max,
              default_mode);
  const std::size_t limit = payload_limit(frame_max);
  // Reserves a large body's exact size. For small ones, the buffer grows by doubling.
  if (body.size() >= large_body)
    out.reserve(out.size() + body.size() + body_frames(body.size(), limit) * frame_overhead);
  while (!body.empty()) {
    const std::string_view part = body.substr(0, limit);
    append_frame(out, FrameType::body, channel, part);
    body.remove_prefix(part.size());
  }
  rollback.keep();
}

void ContentFrames::assign(std::uint16_t channel, std::string_view exchange, std::string_view routing_key,
                           bool mandatory, const Message& message, const std::optional<std::int64_t>& stamp,
                           std::uint32_t frame_max, std::optional<DeliveryMode> default_mode) {
  if (!bytes) bytes = std::make_shared<Bytes>();
  bytes->clear();
  body.reset();
  if (!message.shared_) {
    return append_content(*bytes, channel, exchange, routing_key, mandatory, message.properties(), stamp,
                          message.body(), frame_max, default_mode);
  }
  Rollback rollback(*bytes);
  append_head(*bytes, channel, exchange, routing_key, mandatory, message.properties(), stamp,
              message.shared_->size(), frame_max, default_mode);
  body_at = bytes->size() + frame_prefix;
  part = payload_limit(frame_max);
  append_body_frames(*bytes, channel, message.shared_->size(), part);
  body = message.shared_;
  rollback.keep();
}

void ContentFrames::refit(std::uint16_t channel, std::uint32_t frame_max) {
  const std::size_t limit = payload_limit(frame_max);
  if (!body) {
    if (!all_fit({bytes->data(), bytes->size()}, limit)) return split(*bytes, channel, limit);
    return set_channel(*bytes, channel);
  }
  const std::size_t head = body_at - frame_prefix;
  (void)all_fit({bytes->data(), head}, limit);  // throws if the header does not fit
  bytes->reserve(head + body_frames(body->size(), limit) * frame_overhead);
  bytes->resize(head);
  set_channel(*bytes, channel);
  append_body_frames(*bytes, channel, body->size(), limit);
  part = limit;
}

std::string_view ContentFrames::chunk(std::size_t offset) const noexcept {
  const std::string_view frames(bytes->data(), bytes->size());
  if (!body) return frames.substr(offset);
  if (offset < body_at) return frames.substr(offset, body_at - offset);
  // The layout is: a part, the bytes between it and the next part, the next part, and so on. All parts but
  // the last have one size.
  const std::size_t stride = part + frame_overhead;
  const std::size_t index = (offset - body_at) / stride;
  const std::size_t within = (offset - body_at) % stride;
  const std::string_view this_part = std::string_view(*body).substr(index * part, part);
  if (within < this_part.size()) return this_part.substr(within);
  const std::size_t passed = within - this_part.size();
  return frames.substr(body_at + index * frame_overhead + passed, frame_overhead - passed);
}

}  // namespace warren::inline v0::wire
