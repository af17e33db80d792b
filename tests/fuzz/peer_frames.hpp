#pragma once

#include <cstdint>
#include <string>

#include "fuzz.hpp"
#include "support/frames.hpp"
#include "wire/methods.hpp"

/// @file
/// Frames of the right shape with odd fields, made of a fuzzer's input: what a broker may say after the
/// login.
namespace fuzz {

inline std::string odd_short_string(Input& input) {
  return support::short_string(input.text().substr(0, 255));
}

/// One frame, or a whole message.
/// @param tag  of deliveries and confirms
inline std::string odd_frames(Input& input, std::uint16_t channel, std::uint64_t tag) {
  using namespace support;
  namespace id = warren::wire::id;
  const auto byte = [&] { return number(input.byte(), 1); };
  switch (input.below(18)) {
    case 0: {
      std::string arguments = odd_short_string(input) + number(tag, 8);
      arguments += byte();
      arguments += odd_short_string(input);
      arguments += odd_short_string(input);
      return method_frame(channel, id::basic_deliver, arguments) + header_frame(channel, 0);
    }
    case 1: {
      std::string arguments = number(tag, 8) + byte();
      arguments += odd_short_string(input);
      arguments += odd_short_string(input);
      const std::string_view body = input.text();
      return method_frame(channel, id::basic_get_ok, arguments + number(input.byte(), 4)) +
             header_frame(channel, body.size()) + frame(3, channel, body);
    }
    case 2: {
      std::string arguments = number(312, 2) + odd_short_string(input);
      arguments += odd_short_string(input);
      arguments += odd_short_string(input);
      return method_frame(channel, id::basic_return, arguments) + header_frame(channel, 0);
    }
    case 3:
      return header_frame(channel, input.number<std::uint64_t>());
    case 4: {
      std::string payload = number(60, 2) + number(0, 2) + number(input.byte(), 8);
      return frame(2, channel, payload.append(input.text()));
    }
    case 5:
      return frame(3, channel, input.text());
    case 6:
      return method_frame(channel, id::basic_ack, number(tag, 8) + byte());
    case 7:
      return method_frame(channel, id::basic_nack, number(tag, 8) + byte());
    case 8: {
      const std::string code = number(input.number<std::uint16_t>(), 2);
      return method_frame(channel, id::channel_close, code + odd_short_string(input) + number(0, 4));
    }
    case 9:
      return method_frame(channel, id::channel_close_ok);
    case 10:
      return method_frame(channel, id::basic_cancel, odd_short_string(input) + number(0, 1));
    case 11:
      return method_frame(channel, id::basic_get_empty, odd_short_string(input));
    case 12:
      return method_frame(channel, id::queue_declare_ok,
                          odd_short_string(input) + number(7, 4) + number(1, 4));
    case 13:
      return method_frame(channel, id::channel_flow, byte());
    case 14: {
      const auto method = input.number<std::uint32_t>();
      return method_frame(channel, method, input.text());
    }
    case 15: {
      // A message with the properties that the input says, whole.
      std::string arguments = short_string("c") + number(tag, 8) + byte();
      arguments += short_string("") + short_string("orders");
      const std::string_view properties = input.text();
      const std::string_view body = input.text();
      return method_frame(channel, id::basic_deliver, arguments) +
             frame(2, channel,
                   number(60, 2) + number(0, 2) + number(body.size(), 8) + std::string(properties)) +
             (body.empty() ? std::string() : frame(3, channel, body));
    }
    case 16:
      return frame(8, 0, "");
    default: {
      const std::uint8_t type = input.byte();
      return frame(type, channel, input.text());
    }
  }
}

/// One frame of the handshake, or anything.
inline std::string odd_login(Input& input) {
  using namespace support;
  switch (input.below(9)) {
    case 0:
      return std::string(input.text());
    case 1: {
      const std::uint64_t version = input.byte();
      std::string arguments =
          number(version >> 4U, 1) + number(version & 0xFU, 1) + long_string(input.text());
      arguments += long_string(input.text());
      return method_frame(0, method::connection_start, arguments + long_string(input.text()));
    }
    case 2:
      return start_frame("PLAIN EXTERNAL", input.text());
    case 3: {
      std::string arguments = number(input.number<std::uint16_t>(), 2);
      arguments += number(input.number<std::uint32_t>(), 4);
      return method_frame(0, method::connection_tune, arguments + number(input.number<std::uint16_t>(), 2));
    }
    case 4:
      return method_frame(0, method::connection_open_ok, odd_short_string(input));
    case 5: {
      const std::string code = number(input.number<std::uint16_t>(), 2);
      return method_frame(0, method::connection_close, code + odd_short_string(input) + number(0, 4));
    }
    case 6:
      return frame(8, 0, "");
    case 7:
      return method_frame(0, warren::wire::id::connection_blocked, odd_short_string(input)) +
             (input.flag() ? method_frame(0, warren::wire::id::connection_unblocked) : std::string());
    default: {
      const std::uint8_t type = input.byte();
      const auto channel = input.number<std::uint16_t>();
      return frame(type, channel, input.text());
    }
  }
}

}  // namespace fuzz
