#include <warren/message.hpp>

namespace warren::inline v0 {
namespace {

constexpr std::size_t shared_from = std::size_t{64} << 10;  // copying such a body costs as much as sending it

}  // namespace

Message::Message(std::string body, Properties properties) : properties_(std::move(properties)) {
  if (body.size() >= shared_from) {
    shared_ = std::make_shared<const std::string>(std::move(body));
  } else {
    body_ = std::move(body);
  }
}

Message::Message(std::string_view body, Properties properties)
    : Message(std::string(body), std::move(properties)) {}

Message::Message(std::span<const std::byte> body, Properties properties)
    : Message(std::string(reinterpret_cast<const char*>(body.data()), body.size()), std::move(properties)) {}

Message::Message(const char* body, Properties properties)
    : Message(std::string(body), std::move(properties)) {}

void Message::set_stream_filter(std::string_view value) {
  properties_.headers.set("x-stream-filter-value", value);
}

std::string& Message::body_buffer() {
  if (shared_) {
    body_ = *shared_;
    shared_.reset();
  }
  return body_;
}

Message Message::json(std::string text) {
  return Message(std::move(text), {.content_type = "application/json"});
}

Message Message::text(std::string text) {
  return Message(std::move(text), {.content_type = "text/plain; charset=utf-8"});
}

// Out of line, as bytes() is: what is instantiated here costs each file that includes the header.
bool operator==(const Message& left, const Message& right) {
  return left.body() == right.body() && left.properties_ == right.properties_;
}

std::span<const std::byte> Message::bytes() const noexcept { return std::as_bytes(std::span(body())); }

}  // namespace warren::inline v0
