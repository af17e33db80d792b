#include <warren/connection_state.hpp>
#include <warren/delivery.hpp>
#include <warren/error.hpp>
#include <warren/exchange_options.hpp>
#include <warren/failure_rules.hpp>
#include <warren/log.hpp>
#include <warren/message.hpp>
#include <warren/outcome.hpp>
#include <warren/publisher_options.hpp>
#include <warren/queue_options.hpp>
#include <warren/uri.hpp>

// The names of the public enumerators. Those of retry/ and consumer/ are in the files to_string.cpp there.
// The switches have no `default`, so that the compiler warns of a new enumerator that is missing here.

namespace warren::inline v0 {

const char* to_string(QueueType type) noexcept {
  switch (type) {
    case QueueType::broker_default:
      return "broker_default";
    case QueueType::classic:
      return "classic";
    case QueueType::quorum:
      return "quorum";
    case QueueType::stream:
      return "stream";
  }
  return "unknown";
}

const char* to_string(Overflow overflow) noexcept {
  switch (overflow) {
    case Overflow::drop_head:
      return "drop_head";
    case Overflow::reject_publish:
      return "reject_publish";
    case Overflow::reject_publish_dlx:
      return "reject_publish_dlx";
  }
  return "unknown";
}

const char* to_string(DeadLetterStrategy strategy) noexcept {
  switch (strategy) {
    case DeadLetterStrategy::at_most_once:
      return "at_most_once";
    case DeadLetterStrategy::at_least_once:
      return "at_least_once";
  }
  return "unknown";
}

const char* to_string(LeaderLocator locator) noexcept {
  switch (locator) {
    case LeaderLocator::client_local:
      return "client_local";
    case LeaderLocator::balanced:
      return "balanced";
  }
  return "unknown";
}

const char* to_string(DelayedRetry retry) noexcept {
  switch (retry) {
    case DelayedRetry::disabled:
      return "disabled";
    case DelayedRetry::all:
      return "all";
    case DelayedRetry::failed:
      return "failed";
    case DelayedRetry::returned:
      return "returned";
  }
  return "unknown";
}

const char* to_string(OnLoss on_loss) noexcept {
  switch (on_loss) {
    case OnLoss::resend:
      return "resend";
    case OnLoss::fail:
      return "fail";
  }
  return "unknown";
}

const char* to_string(PublishOutcome outcome) noexcept {
  switch (outcome) {
    case PublishOutcome::pending:
      return "pending";
    case PublishOutcome::confirmed:
      return "confirmed";
    case PublishOutcome::nacked:
      return "nacked";
    case PublishOutcome::returned:
      return "returned";
    case PublishOutcome::refused:
      return "refused";
    case PublishOutcome::unknown:
      return "unknown";
  }
  return "unknown";
}

const char* to_string(DeliveryMode mode) noexcept {
  switch (mode) {
    case DeliveryMode::transient:
      return "transient";
    case DeliveryMode::persistent:
      return "persistent";
  }
  return "unknown";
}

const char* to_string(Requeue requeue) noexcept {
  switch (requeue) {
    case Requeue::no:
      return "no";
    case Requeue::yes:
      return "yes";
  }
  return "unknown";
}

const char* to_string(ErrorScope scope) noexcept {
  switch (scope) {
    case ErrorScope::operation:
      return "operation";
    case ErrorScope::channel:
      return "channel";
    case ErrorScope::connection:
      return "connection";
  }
  return "unknown";
}

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::ack:
      return "ack";
    case Outcome::retry:
      return "retry";
    case Outcome::park:
      return "park";
    case Outcome::requeue:
      return "requeue";
    case Outcome::dead_letter:
      return "dead_letter";
  }
  return "unknown";
}

const char* to_string(ExchangeType type) noexcept {
  switch (type) {
    case ExchangeType::direct:
      return "direct";
    case ExchangeType::fanout:
      return "fanout";
    case ExchangeType::topic:
      return "topic";
    case ExchangeType::headers:
      return "headers";
  }
  return "unknown";
}

const char* to_string(FailureDecision::Action action) noexcept {
  switch (action) {
    case FailureDecision::Action::retry:
      return "retry";
    case FailureDecision::Action::park:
      return "park";
    case FailureDecision::Action::ignore:
      return "ignore";
  }
  return "unknown";
}

const char* to_string(AuthMechanism mechanism) noexcept {
  switch (mechanism) {
    case AuthMechanism::plain:
      return "plain";
    case AuthMechanism::external:
      return "external";
  }
  return "unknown";
}

const char* to_string(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
    case LogLevel::none:
      return "none";
  }
  return "unknown";
}

const char* to_string(ConnectionState state) noexcept {
  switch (state) {
    case ConnectionState::connecting:
      return "connecting";
    case ConnectionState::open:
      return "open";
    case ConnectionState::waiting:
      return "waiting";
    case ConnectionState::closing:
      return "closing";
    case ConnectionState::closed:
      return "closed";
    case ConnectionState::failed:
      return "failed";
  }
  return "unknown";
}

const char* to_string(TopologyEntity entity) noexcept {
  switch (entity) {
    case TopologyEntity::exchange:
      return "exchange";
    case TopologyEntity::queue:
      return "queue";
    case TopologyEntity::binding:
      return "binding";
  }
  return "unknown";
}

}  // namespace warren::inline v0
