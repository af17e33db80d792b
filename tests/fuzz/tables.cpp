// Tables and properties: decoded, encoded, decoded again. What was decoded can be encoded, and what is
// encoded is decoded as the same.
#include <optional>
#include <string>

#include <warren/error.hpp>
#include <warren/message.hpp>

#include "fuzz.hpp"
#include "wire/encoded_table.hpp"
#include "wire/frame.hpp"
#include "wire/malformed.hpp"
#include "wire/methods.hpp"
#include "wire/properties_codec.hpp"
#include "wire/table_codec.hpp"

namespace {

using namespace warren;

constexpr std::uint32_t frame_max = 131'072;
constexpr std::size_t most = 32'768;  // integers become at most twice as long

// The frames of an empty message, and what its header says from the property flags on.
std::string encoded(const Properties& properties, const std::optional<std::int64_t>& stamp) {
  wire::Bytes out;
  wire::append_content(out, 1, "exchange", "key", true, properties, stamp, {}, frame_max);
  std::string_view input(out.data(), out.size());
  fuzz::expect(wire::next_frame(input, frame_max).has_value(), "basic.publish is a frame");
  const auto header = wire::next_frame(input, frame_max);
  fuzz::expect(header.has_value() && header->type == wire::FrameType::header, "the header is a frame");
  fuzz::expect(input.empty(), "an empty message has no body frame");
  return std::string(wire::decode_content_header(header->payload).properties);
}

std::string encoded(const FieldTable& table) {
  wire::Bytes out;
  wire::queue_declare(out, 1, "q", {}, table);
  constexpr std::size_t before = 7 + 4 + 2 + 2 + 1 + 4;  // frame, method, ticket, name, flags, length
  return std::string(out.data() + before, out.size() - before - 1);
}

void read_properties(std::string_view bytes) {
  Properties first;
  std::optional<std::int64_t> stamp;
  wire::decode_properties(bytes, first, stamp);
  try {
    (void)first.headers.begin();
  } catch (const wire::MalformedFrame&) {
    fuzz::expect(false, "headers that were checked can be decoded");
  }
  const std::string once = encoded(first, stamp);
  Properties second;
  std::optional<std::int64_t> second_stamp;
  wire::decode_properties(once, second, second_stamp);
  fuzz::expect(stamp == second_stamp, "the stamp survives");
  fuzz::expect(encoded(second, second_stamp) == once, "properties are encoded as they were");
  // Into what is used again.
  wire::decode_properties(once, first, stamp);
  fuzz::expect(encoded(first, stamp) == once, "properties that are used again keep nothing");
}

void read_table(std::string_view bytes) {
  const auto takes = [](const auto& read) {
    try {
      read();
      return true;
    } catch (const wire::MalformedFrame&) {
      return false;
    }
  };
  FieldTable first;
  FieldTable checked;
  std::optional<std::int64_t> stamp;
  fuzz::expect(takes([&] { wire::TableAccess::assign(checked, bytes, stamp); }) ==
                   takes([&] { wire::decode_table(bytes, first); }),
               "what is checked is what can be decoded");
  wire::decode_table(bytes, first);
  for (const FieldEntry& entry : first) {
    fuzz::expect(first.contains(entry.key), "a key is found");
    (void)entry.value.as_integer();
    (void)entry.value.as_string();
  }
  const std::string once = encoded(first);
  FieldTable second;
  wire::decode_table(once, second);
  fuzz::expect(first.size() == second.size(), "a table keeps its entries");
  fuzz::expect(encoded(second) == once, "a table is encoded as it was");
}

}  // namespace

void fuzz::fuzz(Input input) {
  const bool is_table = input.flag();
  const std::string_view bytes = input.rest().substr(0, most);
  try {
    is_table ? read_table(bytes) : read_properties(bytes);
  } catch (const wire::MalformedFrame&) {
  } catch (const InvalidArgument& error) {  // RabbitMQ can't read such a number, and so never sends one
    expect(error.text().find("is NaN or infinite") != std::string::npos, "what was decoded can be encoded");
  }
}
