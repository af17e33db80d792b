#include "support/frames.hpp"

#include <algorithm>

namespace support {
namespace {

std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = at; i < at + count && i < bytes.size(); ++i) {
    value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  }
  return value;
}

// Reads arguments one after the other; past the end all is 0 and empty.
struct Arguments {
  std::string_view bytes;

  std::uint64_t number(std::size_t count) {
    const std::uint64_t value = number_at(bytes, 0, count);
    bytes.remove_prefix(std::min(count, bytes.size()));
    return value;
  }
  std::string short_string() {
    const std::size_t size = number(1);
    std::string text(bytes.substr(0, size));
    bytes.remove_prefix(text.size());
    return text;
  }
};

}  // namespace

Frame FrameReader::decode(std::string_view head, std::string_view payload) const {
  Frame frame{.direction = direction_,
              .link = link_,
              .type = static_cast<std::uint8_t>(head[0]),
              .channel = static_cast<std::uint16_t>(number_at(head, 1, 2)),
              .size = payload.size(),
              .time = std::chrono::steady_clock::now()};
  if (frame.type == 2) frame.size = number_at(payload, 4, 8);
  if (frame.type != 1) return frame;
  Arguments arguments{payload};
  frame.method = static_cast<std::uint32_t>(arguments.number(4));
  switch (frame.method) {
    case method::basic_ack:
      frame.delivery_tag = arguments.number(8);
      frame.multiple = arguments.number(1) != 0;
      break;
    case method::basic_nack: {
      frame.delivery_tag = arguments.number(8);
      const std::uint64_t bits = arguments.number(1);
      frame.multiple = (bits & 1) != 0;
      frame.requeue = (bits & 2) != 0;
      break;
    }
    case method::basic_reject:
      frame.delivery_tag = arguments.number(8);
      frame.requeue = arguments.number(1) != 0;
      break;
    case method::basic_publish:
      arguments.number(2);
      frame.exchange = arguments.short_string();
      frame.routing_key = arguments.short_string();
      break;
    case method::basic_return:
      arguments.number(2);
      arguments.short_string();
      frame.exchange = arguments.short_string();
      frame.routing_key = arguments.short_string();
      break;
    case method::basic_deliver:
      arguments.short_string();
      [[fallthrough]];
    case method::basic_get_ok:
      frame.delivery_tag = arguments.number(8);
      arguments.number(1);
      frame.exchange = arguments.short_string();
      frame.routing_key = arguments.short_string();
      break;
    default:
      break;
  }
  return frame;
}

void FrameReader::read(std::string_view bytes, std::vector<Frame>& frames) {
  if (garbled_) return;
  buffer_.append(bytes);
  std::string_view rest = buffer_;
  if (!started_ && direction_ == Direction::to_broker) {
    if (rest.size() < 8) return;
    rest.remove_prefix(8);
  }
  started_ = true;
  while (rest.size() >= 8) {
    const std::size_t size = number_at(rest, 3, 4);
    if (rest.size() < size + 8) break;
    if (static_cast<std::uint8_t>(rest[7 + size]) != 0xCE) {
      garbled_ = true;
      return;
    }
    frames.push_back(decode(rest.substr(0, 7), rest.substr(7, size)));
    rest.remove_prefix(size + 8);
  }
  buffer_.erase(0, buffer_.size() - rest.size());
}

std::optional<std::size_t> FrameReader::first_end(std::string_view bytes) const {
  const std::string known = buffer_ + std::string(bytes);
  const std::size_t start = !started_ && direction_ == Direction::to_broker ? 8 : 0;
  if (garbled_ || known.size() < start + 8) return std::nullopt;
  const std::size_t last = start + number_at(known, start + 3, 4) + 7;
  if (last >= known.size()) return std::nullopt;
  return last - buffer_.size();
}

std::string number(std::uint64_t value, std::size_t bytes) {
  std::string result(bytes, '\0');
  for (std::size_t i = bytes; i > 0; --i, value >>= 8) result[i - 1] = static_cast<char>(value & 0xFF);
  return result;
}

std::string short_string(std::string_view text) { return number(text.size(), 1).append(text); }
std::string long_string(std::string_view text) { return number(text.size(), 4).append(text); }

std::string frame(std::uint8_t type, std::uint16_t channel, std::string_view payload) {
  return number(type, 1) + number(channel, 2) + long_string(payload) + '\xCE';
}

std::string method_frame(std::uint16_t channel, std::uint32_t method, std::string_view arguments) {
  return frame(1, channel, number(method, 4) + std::string(arguments));
}

std::string start_frame(std::string_view mechanisms, std::string_view properties) {
  return method_frame(
      0, method::connection_start,
      number(0, 1) + number(9, 1) + long_string(properties) + long_string(mechanisms) + long_string("en_US"));
}

std::string header_frame(std::uint16_t channel, std::uint64_t body_size) {
  return frame(2, channel, number(60, 2) + number(0, 2) + number(body_size, 8) + number(0, 2));
}

}  // namespace support
