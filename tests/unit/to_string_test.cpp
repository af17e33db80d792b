#include <warren/warren.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

namespace {

template <typename Enum>
struct Named {
  Enum value;
  std::string_view name;
};

// Each enumerator has its name, and the value behind the last one has none: a new one must be listed here.
template <typename Enum>
void check(const std::vector<Named<Enum>>& all, bool closed = true) {
  for (const auto& [value, name] : all) CHECK(to_string(value) == name);
  static_assert(noexcept(to_string(Enum{})));
  if (!closed) return;
  const auto last = static_cast<int>(all.back().value);
  CHECK(to_string(static_cast<Enum>(last + 1)) == std::string_view("unknown"));
}

}  // namespace

TEST_CASE("to_string() names each enumerator of each public enum") {
  using namespace warren;
  check<QueueType>(
      {{QueueType::broker_default, "broker_default"},
                    {QueueType::classic, "classic"}, {QueueType::quorum, "quorum"}, {QueueType::stream, "stream"}});
  check<Overflow>({{Overflow::drop_head, "drop_head"},
                   {Overflow::reject_publish, "reject_publish"},
                   {Overflow::reject_publish_dlx, "reject_publish_dlx"}});
  check<DeadLetterStrategy>({{DeadLetterStrategy::at_most_once, "at_most_once"},
                             {DeadLetterStrategy::at_least_once, "at_least_once"}});
  check<LeaderLocator>(
      {{LeaderLocator::client_local, "client_local"}, {LeaderLocator::balanced, "balanced"}});
  check<DelayedRetry>({{DelayedRetry::disabled, "disabled"},
                       {DelayedRetry::all, "all"},
                       {DelayedRetry::failed, "failed"},
                       {DelayedRetry::returned, "returned"}});
  check<OnLoss>({{OnLoss::resend, "resend"}, {OnLoss::fail, "fail"}});
  check<PublishOutcome>({{PublishOutcome::pending, "pending"},
                         {PublishOutcome::confirmed, "confirmed"},
                         {PublishOutcome::nacked, "nacked"},
                         {PublishOutcome::returned, "returned"},
                         {PublishOutcome::refused, "refused"},
                         {PublishOutcome::unknown, "unknown"}});
  check<DeliveryMode>({{DeliveryMode::transient, "transient"}, {DeliveryMode::persistent, "persistent"}});
  check<Requeue>({{Requeue::no, "no"}, {Requeue::yes, "yes"}}, false);
  check<ErrorScope>({{ErrorScope::operation, "operation"},
                     {ErrorScope::channel, "channel"},
                     {ErrorScope::connection, "connection"}});
  check<Outcome>({{Outcome::ack, "ack"},
                  {Outcome::retry, "retry"},
                  {Outcome::park, "park"},
                  {Outcome::requeue, "requeue"},
                  {Outcome::dead_letter, "dead_letter"}});
  check<ExchangeType>({{ExchangeType::direct, "direct"},
                       {ExchangeType::fanout, "fanout"},
                       {ExchangeType::topic, "topic"},
                       {ExchangeType::headers, "headers"}});
  check<FailureDecision::Action>({{FailureDecision::Action::retry, "retry"},
                                  {FailureDecision::Action::park, "park"},
                                  {FailureDecision::Action::ignore, "ignore"}});
  check<RetryPolicy::Shape>({{RetryPolicy::Shape::none, "none"},
                             {RetryPolicy::Shape::immediate, "immediate"},
                             {RetryPolicy::Shape::to_queue, "to_queue"},
                             {RetryPolicy::Shape::delayed, "delayed"}});
  check<AuthMechanism>({{AuthMechanism::plain, "plain"}, {AuthMechanism::external, "external"}});
  check<LogLevel>({{LogLevel::debug, "debug"},
                   {LogLevel::info, "info"},
                   {LogLevel::warning, "warning"},
                   {LogLevel::error, "error"},
                   {LogLevel::none, "none"}});
  check<ConnectionState>({{ConnectionState::connecting, "connecting"},
                          {ConnectionState::open, "open"},
                          {ConnectionState::waiting, "waiting"},
                          {ConnectionState::closing, "closing"},
                          {ConnectionState::closed, "closed"},
                          {ConnectionState::failed, "failed"}});
  check<TopologyEntity>({{TopologyEntity::exchange, "exchange"},
                         {TopologyEntity::queue, "queue"},
                         {TopologyEntity::binding, "binding"}});
  check<AckMode>({{AckMode::after_handler, "after_handler"}, {AckMode::manual, "manual"}});
  check<CircuitState>({{CircuitState::closed, "closed"},
                       {CircuitState::open, "open"},
                       {CircuitState::half_open, "half_open"}});
}
