#include "wire/method_decoder.hpp"

#include "wire/amqp.hpp"

namespace warren::inline v0::wire {

MethodDecoder::MethodDecoder() : pool_(std::make_unique<Pool>()) {}
MethodDecoder::~MethodDecoder() = default;

InboundMethod MethodDecoder::decode(std::string_view payload) {
  pool_->recycle();
  return decode_method(payload, *pool_);
}

}  // namespace warren::inline v0::wire
