#pragma once

#include <memory>
#include <string_view>

#include "wire/methods.hpp"

namespace warren::inline v0::wire {

/// Decodes methods with memory of its own, so that the engine needs no rabbitmq-c header.
class MethodDecoder {
 public:
  MethodDecoder();
  ~MethodDecoder();
  MethodDecoder(const MethodDecoder&) = delete;
  MethodDecoder& operator=(const MethodDecoder&) = delete;

  /// Decodes a method, as decode_method() does. The result is valid until the next call, and only as long as
  /// the payload.
  [[nodiscard]] InboundMethod decode(std::string_view payload);

 private:
  std::unique_ptr<Pool> pool_;
};

}  // namespace warren::inline v0::wire
