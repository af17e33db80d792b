#include <warren/retry_policy.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

namespace warren::inline v0 {
namespace {

constexpr std::size_t longest_name = 255;

[[noreturn]] void refuse(std::string text) {
  throw InvalidArgument({.operation = "retry policy", .text = std::move(text), .permanent = true});
}

void check_name(const std::string& name, std::string_view what) {
  if (name.size() > longest_name) refuse(fmt::format("{} is above {} bytes", what, longest_name));
}

}  // namespace

RetryPolicy::RetryPolicy(Shape shape, std::string queue, RetryOptions options)
    : shape_(shape), queue_(std::move(queue)), options_(std::move(options)) {
  if (options_.max_attempts == 0) refuse("max_attempts is 0: a message is always tried once");
  check_name(queue_, "the queue's name");
  check_name(options_.parked_queue, "the parked queue's name");
  check_name(options_.exchange, "the exchange's name");
  check_name(options_.name, "the policy's name");
}

RetryPolicy RetryPolicy::none() { return {}; }

RetryPolicy RetryPolicy::immediate(RetryOptions options) {
  return {Shape::immediate, {}, std::move(options)};
}

RetryPolicy RetryPolicy::to_queue(std::string queue, RetryOptions options) {
  if (queue.empty()) refuse("the queue to try again from has no name");
  if (queue == options.parked_queue)
    refuse("the parked queue is the one to try again from: nothing would rest there");
  return {Shape::to_queue, std::move(queue), std::move(options)};
}

std::string RetryPolicy::parked_queue(const std::string& consumed) const {
  if (shape_ == Shape::none) return {};
  return options_.parked_queue.empty() ? consumed + "_parked" : options_.parked_queue;
}

std::string RetryPolicy::to_string() const {
  if (shape_ == Shape::none) return "none";
  std::string text = shape_ == Shape::immediate ? "immediate(" : fmt::format("to_queue({}, ", queue_);
  text += fmt::format("max_attempts={}", options_.max_attempts);
  if (shape_ == Shape::to_queue && options_.immediate != 0)
    text += fmt::format(", immediate={}", options_.immediate);
  if (!options_.parked_queue.empty()) text += fmt::format(", parked_queue={}", options_.parked_queue);
  if (!options_.exchange.empty()) text += fmt::format(", exchange={}", options_.exchange);
  return text + ")";
}

}  // namespace warren::inline v0
