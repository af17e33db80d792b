#include <warren/retry_policy.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include <warren/error.hpp>

#include "retry/topology.hpp"
#include "values/limits.hpp"

namespace warren::inline v0 {
namespace {

using std::chrono::milliseconds;
using Delays = std::vector<milliseconds>;

// Each distinct delay needs a quorum queue, which costs the broker memory and a log.
constexpr std::size_t most_distinct = 16;
constexpr std::size_t longest_schedule = 1'000;
constexpr milliseconds longest_delay{4'294'967'295};  // https://www.rabbitmq.com/docs/ttl

[[noreturn]] void refuse(std::string text) {
  throw InvalidArgument({.operation = "retry policy", .text = std::move(text), .permanent = true});
}

void check_name(std::string_view name, std::string_view what) {
  if (name.size() > max_short_string) refuse(fmt::format("{} is above {} bytes", what, max_short_string));
}

void check_delay(milliseconds delay) {
  if (delay < milliseconds(1) || delay > longest_delay) {
    refuse(fmt::format("a delay is {} ms, not from 1 to {}", delay.count(), longest_delay.count()));
  }
}

std::string text_of(milliseconds time) {
  return time.count() % 1'000 == 0 ? fmt::format("{}s", time.count() / 1'000)
                                   : fmt::format("{}ms", time.count());
}

// The most copies of a message before it is parked. A schedule needs this number of delays, at least one.
std::size_t copies(const RetryOptions& options) {
  const std::uint64_t runs_a_copy = std::uint64_t{options.runs_in_place} + 1;
  const std::uint64_t most = options.max_attempts == 0 ? 0 : (options.max_attempts - 1) / runs_a_copy;
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(most, 1, longest_schedule));
}

milliseconds cap_of(const RetryOptions& options) { return options.max_delay.value_or(longest_delay); }

// A schedule of growing delays. It ends when they reach the cap, because its last delay applies to all later
// copies.
template <typename DelayOf>
Delays growing(const RetryOptions& options, DelayOf&& delay_of) {
  const double cap = static_cast<double>(cap_of(options).count());
  Delays schedule;
  for (std::size_t i = 0; i < copies(options); ++i) {
    const double delay = delay_of(i);
    if (!(delay < cap)) {
      schedule.push_back(cap_of(options));
      break;
    }
    schedule.emplace_back(static_cast<milliseconds::rep>(std::llround(delay)));
  }
  return schedule;
}

// A wait queue. The broker dead-letters a message to `consumed` when its delay is over.
RetryQueue waiting(std::string_view consumed, milliseconds delay, const std::string& exchange) {
  return {.name = RetryPolicy::wait_queue(consumed, delay),
          .options = {.type = QueueType::quorum,
                      .message_ttl = delay,
                      .overflow = Overflow::reject_publish,
                      .dead_letter_exchange = exchange,
                      .dead_letter_routing_key = std::string(consumed),
                      .dead_letter_strategy = DeadLetterStrategy::at_least_once}};
}

// Refuses a name that can't be declared. `exists` says that the queue need not be declared.
void check_declarable(const std::string& name, bool exists) {
  if (name.size() > max_short_string)
    refuse(fmt::format("the queue's name is above {} bytes: {}", max_short_string, name));
  // https://www.rabbitmq.com/docs/queues#names
  if (exists || !name.starts_with("amq.")) return;
  refuse(
      fmt::format("the broker keeps names that begin with \"amq.\" for itself, so \"{}\" can't be "
                  "declared: name the parked queue, and for a delay the consumer's queue",
                  name));
}

Delays sorted(Delays delays) {
  std::ranges::sort(delays);
  delays.erase(std::unique(delays.begin(), delays.end()), delays.end());  // clang 14 has no ranges::unique
  return delays;
}

}  // namespace

RetryPolicy::RetryPolicy(Shape shape, std::string queue, RetryOptions options)
    : shape_(shape), queue_(std::move(queue)), options_(std::move(options)) {
  if (options_.max_attempts == 0) refuse("max_attempts is 0: a message is always tried once");
  check_name(queue_, "the queue's name");
  check_name(options_.parked_queue, "the parked queue's name");
  check_name(options_.exchange, "the exchange's name");
  check_name(options_.name, "the policy's name");
  if (options_.deadline && *options_.deadline <= milliseconds(0)) refuse("the deadline is not above 0");
  if (options_.max_delay) check_delay(*options_.max_delay);
  if (!(options_.jitter >= 0 && options_.jitter < 1)) refuse("jitter is not from 0 to below 1");
}

RetryPolicy::RetryPolicy(Delays schedule, const Delays& declared, RetryOptions options)
    : RetryPolicy(Shape::delayed, {}, std::move(options)) {
  if (schedule.empty() || declared.empty()) refuse("there is no delay");
  std::ranges::for_each(declared, check_delay);
  const milliseconds cap = cap_of(options_);
  for (milliseconds& delay : schedule) delay = std::min(delay, cap);
  schedule_ = std::move(schedule);
  distinct_ = declared;
  for (milliseconds& delay : distinct_) delay = std::min(delay, cap);
  distinct_ = sorted(std::move(distinct_));
  if (distinct_.size() > most_distinct) {
    refuse(fmt::format("more than {} distinct delays, each of which needs a queue: cap them, or round them",
                       most_distinct));
  }
}

RetryPolicy RetryPolicy::none() { return {}; }

RetryPolicy RetryPolicy::immediate(RetryOptions options) {
  return {Shape::immediate, {}, std::move(options)};
}

RetryPolicy RetryPolicy::to_queue(std::string_view queue, RetryOptions options) {
  if (queue.empty()) refuse("the queue to try again from has no name");
  if (queue == options.parked_queue)
    refuse("the parked queue is the one to try again from: nothing would rest there");
  return {Shape::to_queue, std::string(queue), std::move(options)};
}

RetryPolicy RetryPolicy::fixed(milliseconds delay, RetryOptions options) {
  return {Delays{delay}, Delays{delay}, std::move(options)};
}

RetryPolicy RetryPolicy::linear(milliseconds step, RetryOptions options) {
  check_delay(step);
  const Delays schedule = growing(
      options, [&](std::size_t i) { return static_cast<double>(step.count()) * static_cast<double>(i + 1); });
  return {schedule, schedule, std::move(options)};
}

RetryPolicy RetryPolicy::exponential(ExponentialOptions options) {
  check_delay(options.initial);
  check_delay(options.max);
  if (!(options.multiplier >= 1) || !std::isfinite(options.multiplier)) refuse("the multiplier is below 1");
  RetryOptions common = std::move(options.retry);
  common.max_delay = std::min(options.max, cap_of(common));
  const Delays schedule = growing(common, [&](std::size_t i) {
    return static_cast<double>(options.initial.count()) *
           std::pow(options.multiplier, static_cast<double>(i));
  });
  return {schedule, schedule, std::move(common)};
}

RetryPolicy RetryPolicy::delays(std::vector<milliseconds> delays, RetryOptions options) {
  Delays declared = delays;
  return {std::move(delays), declared, std::move(options)};
}

RetryPolicy RetryPolicy::custom(const std::function<milliseconds(std::uint32_t)>& delay,
                                std::vector<milliseconds> declared, RetryOptions options) {
  if (!delay) refuse("there is no function for the delays");
  declared = sorted(std::move(declared));
  Delays schedule;
  for (std::size_t i = 1; i <= copies(options); ++i) {
    const milliseconds wanted = std::min(delay(static_cast<std::uint32_t>(i)), cap_of(options));
    const auto next = std::ranges::lower_bound(declared, wanted);
    if (next == declared.end())
      refuse(fmt::format("the delay {} is above all that are declared", text_of(wanted)));
    schedule.push_back(*next);
  }
  return {std::move(schedule), declared, std::move(options)};
}

std::string RetryPolicy::parked_queue(std::string_view consumed) const {
  if (shape_ == Shape::none) return {};
  return options_.parked_queue.empty() ? fmt::format("{}{}", consumed, retry::parked_suffix)
                                       : options_.parked_queue;
}

std::string RetryPolicy::wait_queue(std::string_view consumed, milliseconds delay) {
  return fmt::format("{}_wait_{}", consumed, delay.count());
}

RetryTopology RetryPolicy::topology(std::string_view consumed) const {
  const bool lacks_delays = shape_ == Shape::delayed && schedule_.empty();
  if (lacks_delays || (shape_ == Shape::to_queue && queue_.empty())) refuse("the RetryPolicy was moved from");
  if (shape_ == Shape::none) return {};
  const std::string parked = parked_queue(consumed);
  if (parked == consumed) refuse("the parked queue is the consumer's own: nothing would rest there");
  if (parked == queue_) refuse("the parked queue is the one to try again from: nothing would rest there");
  RetryTopology topology{.exchange = options_.exchange};
  if (shape_ == Shape::to_queue) topology.queues.push_back({.name = queue_});
  for (const milliseconds delay : distinct_) {
    topology.queues.push_back(waiting(consumed, delay, options_.exchange));
    if (topology.queues.back().name == parked) refuse("the parked queue is one to wait in");
  }
  // The type is sent, because the virtual host's default may be quorum. A quorum queue's delivery limit
  // deletes messages that are inspected too often.
  topology.queues.push_back({.name = parked, .options = {.type = QueueType::classic}});
  for (const RetryQueue& queue : topology.queues) {
    check_declarable(queue.name, queue.name == queue_);
    if (!options_.exchange.empty()) topology.bindings.push_back(queue.name);
  }
  // After its delay a message returns to `consumed` through that exchange, too.
  if (shape_ == Shape::delayed && !options_.exchange.empty()) topology.bindings.emplace_back(consumed);
  return topology;
}

std::string to_string(const RetryPolicy& policy) {
  using Shape = RetryPolicy::Shape;
  const Shape shape = policy.shape();
  if (shape == Shape::none) return to_string(shape);
  const RetryOptions& options = policy.options();
  std::string text = fmt::format("{}(", to_string(shape));
  if (shape == Shape::to_queue) text += policy.queue() + ", ";
  for (const milliseconds delay : policy.schedule()) text += text_of(delay) + ", ";
  text += fmt::format("max_attempts={}", options.max_attempts);
  if (shape != Shape::immediate && options.runs_in_place != 0)
    text += fmt::format(", runs_in_place={}", options.runs_in_place);
  if (options.deadline) text += ", deadline=" + text_of(*options.deadline);
  if (options.jitter > 0) text += fmt::format(", jitter={}", options.jitter);
  if (!options.parked_queue.empty()) text += fmt::format(", parked_queue={}", options.parked_queue);
  if (!options.exchange.empty()) text += fmt::format(", exchange={}", options.exchange);
  return text + ")";
}

}  // namespace warren::inline v0
