// Retry policies with odd options: refused, or everything that they promise holds, and copies by them are
// made.
#include <algorithm>

#include "policies.hpp"
#include "retry/copy.hpp"

namespace {

using namespace warren;
using fuzz::expect;
using fuzz::Input;

void check(const RetryPolicy& policy) {
  using std::chrono::milliseconds;
  expect(!to_string(policy).empty(), "a policy has a text");
  expect(policy == RetryPolicy(policy), "a policy equals its copy");
  const auto& distinct = policy.distinct_delays();
  expect(distinct.size() <= 16, "there are at most 16 wait queues");
  expect(std::ranges::is_sorted(distinct), "delays are ascending");
  for (const milliseconds delay : distinct)
    expect(delay >= milliseconds(1) && delay <= milliseconds(4'294'967'295), "a delay is one of a queue's");
  for (const milliseconds delay : policy.schedule())
    expect(std::ranges::binary_search(distinct, delay), "each delay has a queue");
  expect((policy.shape() == RetryPolicy::Shape::delayed) == !policy.schedule().empty(),
         "a delayed policy has delays");
}

void declare(const RetryPolicy& policy, const std::string& queue) {
  try {
    const RetryTopology topology = policy.topology(queue);
    for (const RetryQueue& each : topology.queues)
      expect(!each.name.empty() && each.name.size() <= 255, "a queue has a name");
    for (const std::string& each : topology.bindings) expect(each.size() <= 255, "a binding has a key");
  } catch (const InvalidArgument& error) {
    expect(!error.text().empty(), "a refusal says why");
  }
}

}  // namespace

void fuzz::fuzz(Input input) {
  const std::optional<RetryPolicy> policy = odd_policy(input);
  if (!policy) return;
  check(*policy);
  const std::string queue(input.text());
  declare(*policy, queue);
  if (policy->shape() == RetryPolicy::Shape::none) return;

  const Delivery delivery = odd_delivery(input);
  retry::Failure failure;
  failure.reason = static_cast<retry::Reason>(input.below(7));
  failure.runs = static_cast<std::uint32_t>(odd_number(input));
  failure.error_message = input.text();
  if (input.flag()) failure.delay = odd_time(input);
  const std::chrono::system_clock::time_point now{std::chrono::milliseconds(1'764'000'000'000)};
  (void)retry::run_again_in_place(*policy, delivery, failure, now);
  const retry::Copy copy = retry::make_copy(*policy, queue, delivery, failure, now, "host");
  const Properties& properties = copy.message.properties();
  expect(properties.delivery_mode == DeliveryMode::persistent, "a copy is persistent");
  if (copy.parked) expect(!properties.expiration, "what is parked does not expire");
  if (properties.expiration) {
    expect(*properties.expiration >= std::chrono::milliseconds(0) &&
               *properties.expiration <= policy->distinct_delays().back(),
           "a copy waits no longer than its queue says");
  }
}
