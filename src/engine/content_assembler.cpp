#include "engine/content_assembler.hpp"

#include <algorithm>

#include "engine/delivery_access.hpp"
#include "wire/encoded_table.hpp"
#include "wire/malformed.hpp"
#include "wire/properties_codec.hpp"

namespace warren::inline v0::engine {
namespace {

constexpr std::uint16_t basic_class = 60;
constexpr std::size_t kept_body = 64 * 1024;
constexpr std::size_t most_spare = 1'024;
// A header may announce any size. Only this much is reserved before the body arrives.
constexpr std::uint64_t first_reserve = std::uint64_t{16} << 20;

}  // namespace

void ContentAssembler::begin(const wire::InboundMethod& method) {
  if (open()) throw wire::MalformedFrame("a message begins within another one on the same channel");
  if (spare_.empty()) {
    content_ = std::make_unique<Content>();
    DeliveryAccess::channel(content_->delivery, channel_);
  } else {
    content_ = std::move(spare_.back());
    spare_.pop_back();
  }
  content_->method = method.id;
  content_->code = method.code;
  content_->text.assign(method.text);
  DeliveryAccess::method(content_->delivery, method);
  message().body_buffer().clear();
  has_header_ = false;
}

ContentAssembler::ContentPtr ContentAssembler::add(const wire::Frame& frame) {
  if (!open()) throw wire::MalformedFrame("a header or body frame with no message begun");
  if (frame.type == wire::FrameType::header) {
    if (has_header_) throw wire::MalformedFrame("two headers for one message");
    const wire::ContentHeader header = wire::decode_content_header(frame.payload);
    if (header.class_id != basic_class) throw wire::MalformedFrame("a content header of another class");
    if (header.body_size > wire::max_body) throw wire::MalformedFrame("a body above 512 MiB");
    content_->fault.clear();
    try {
      wire::decode_properties(header.properties, message().properties(), content_->stamp);
    } catch (const wire::MalformedFrame& fault) {
      content_->fault = fault.what();
      message().properties() = {};
    }
    message().body_buffer().reserve(static_cast<std::size_t>(std::min(header.body_size, first_reserve)));
    missing_ = header.body_size;
    has_header_ = true;
    return missing_ == 0 ? complete() : nullptr;
  }
  if (frame.type != wire::FrameType::body || !has_header_) {
    throw wire::MalformedFrame("a body frame ahead of its header");
  }
  if (frame.payload.size() > missing_) throw wire::MalformedFrame("more body than the header said");
  message().body_buffer().append(frame.payload);
  missing_ -= frame.payload.size();
  return missing_ == 0 ? complete() : nullptr;
}

Message& ContentAssembler::message() noexcept { return DeliveryAccess::message(content_->delivery); }

ContentAssembler::ContentPtr ContentAssembler::complete() { return std::move(content_); }

void ContentAssembler::reset() noexcept { content_.reset(); }

void ContentAssembler::recycle(ContentPtr content) {
  if (content == nullptr || spare_.size() >= most_spare) return;
  if (!DeliveryAccess::is_of(content->delivery, channel_)) return;  // it belongs to an earlier generation
  Message& message = DeliveryAccess::message(content->delivery);
  if (message.body_buffer().capacity() > kept_body) std::string().swap(message.body_buffer());
  FieldTable& headers = message.properties().headers;
  if (wire::TableAccess::is_large(headers)) headers = {};
  headers.clear();  // drops decoded headers; the memory of the bytes is used again
  spare_.push_back(std::move(content));
}

}  // namespace warren::inline v0::engine
