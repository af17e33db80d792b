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

  /// As decode_method. The result is valid until the next call, and as long as the payload.
  [[nodiscard]] InboundMethod decode(std::string_view payload);

 private:
  std::unique_ptr<Pool> pool_;
};

}  // namespace warren::inline v0::wire
