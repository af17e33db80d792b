// Subscription after its channel was lost, or the broker cancelled it: how it leaves that channel, and
// consumes on another one.

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include <warren/reply_code.hpp>

#include "engine/request.hpp"
#include "engine/subscription.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// The pause after a cancellation, so that a queue that cancels again at once does not spin.
constexpr milliseconds resubscribe_pause{100};
constexpr milliseconds kept_pause{1'000};
// The pauses between attempts. If the previous connection still holds a queue, it is free within seconds. A
// node that is down is back within minutes, or never.
constexpr milliseconds first_pause{500};
constexpr milliseconds longest_pause{2'000};
constexpr milliseconds longest_refused_pause{10'000};  // a revoked permission must be restored first
constexpr milliseconds longest_wait = 5min;

milliseconds since(ConnectionCore::Deadline moment) {
  return std::chrono::duration_cast<milliseconds>(ConnectionCore::Clock::now() - moment);
}

}  // namespace

// The state of one open_again().
struct Subscription::Attempts {
  bool cancelled = false;  // by the broker, with no lost connection since
  std::uint16_t code = 0;  // the code of the refusals since `first`
  Deadline first{};
  milliseconds pause = first_pause;
  bool declared = false;  // the queue was declared again
};

void Subscription::open_again() {
  Attempts attempts{.cancelled = state().link == SubscriptionLink::cancelled};
  try {
    if (attempts.cancelled) leave_cancelled();
    for (bool first = true;; first = false) {
      connection_->await_open(fmt::format("consume \"{}\"", current_queue()), Deadline::max(),
                              [this] { return is_ending(); });
      // The queue is declared in the background, once the previous connection no longer holds it.
      connection_->await_queue(options_.queue, [this] { return is_ending(); });
      if (first) await_kept();
      if (is_ending() || open_once(attempts)) return;
      apply(SubscriptionEvent::given_up);
    }
  } catch (...) {
    apply(SubscriptionEvent::given_up);
    throw;
  }
}

// False if the caller must try again. The pause has passed by then.
bool Subscription::open_once(Attempts& attempts) {
  apply(SubscriptionEvent::reopen);
  try {
    open_channel();
    return true;
  } catch (const ConnectionError&) {
    if (connection_->has_ended()) throw;
    attempts.cancelled = false;
  } catch (const TimeoutError& error) {  // a stalled connection: its heartbeats or the next attempt tell
    log(LogLevel::warning, [&] { return fmt::format("{}: it is tried again", error.what()); });
    const auto late = channel();
    late->give_up();
    left(*late);
  } catch (const ChannelError& error) {
    if (!try_again(attempts, error)) throw;
    return false;
  }
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, first_pause, [&] { return is_ending(); });
  return false;
}

// Waits for the stream's kept deliveries to be handled, so that no more than the prefetch is held. The wait
// is short, since a handler may take any time.
void Subscription::await_kept() {
  if (!keeps_deliveries()) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kept_pause,
                    [&] { return is_ending() || state().is_paused() || taken_ == queue_.size(); });
}

// Handles a transient refusal: waits, and returns true for another attempt.
bool Subscription::try_again(Attempts& attempts, const ChannelError& error) {
  const bool node_down = wire::is_node_down(error.code(), error.text());
  const bool missing = error.code() == reply_code::not_found && !node_down;
  if (!missing && !node_down && error.code() != reply_code::access_refused &&
      error.code() != reply_code::resource_locked)
    return false;
  if (missing && attempts.cancelled) {
    connection_->topology().queue_gone(options_.queue);
    ErrorDetails details = error.details();
    details.operation = fmt::format("consume \"{}\"", current_queue());
    details.text = "the broker cancelled the subscription, and the queue is gone: " + details.text;
    throw ConsumerCancelledError(std::move(details));
  }
  if (attempts.code != error.code()) {
    attempts.code = error.code();
    attempts.first = ConnectionCore::Clock::now();
    attempts.pause = first_pause;
  }
  const auto longest = missing ? options_.queue_wait : longest_wait;
  // An auto-delete queue is deleted with the last consumer of the previous connection, even if it was
  // declared again before that.
  const bool declared = missing && declare_queue_again();
  const bool at_once = declared && !std::exchange(attempts.declared, true);
  const milliseconds elapsed = since(attempts.first);
  if (!at_once && elapsed >= longest) return false;
  const milliseconds pause = at_once ? 0ms : std::min(attempts.pause, longest - elapsed);
  const char* cause = missing     ? "the queue is missing"
                      : node_down ? "the queue's node is down"
                      : attempts.code == reply_code::resource_locked
                          ? "another connection holds the queue"
                          : "no permission, or another consumer is the exclusive one";
  log(LogLevel::warning, [&] {
    return fmt::format("{}: {}.{} The next try is in {} ms, the last one {} ms after the first", cause,
                       error.what(), declared ? " The queue is declared again." : "", pause.count(),
                       longest.count());
  });
  attempts.pause = std::min(
      2 * attempts.pause, error.code() == reply_code::access_refused ? longest_refused_pause : longest_pause);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, pause, [&] { return is_ending(); });
  return true;
}

// False if this connection never declared the queue, or cannot declare it.
bool Subscription::declare_queue_again() {
  const auto record = connection_->topology().find_queue(options_.queue);
  if (!record) return false;
  try {
    const auto channel = connection_->open_channel(connection_->operation_deadline());
    try {
      const Reply reply = ask(*channel, request::declare_queue(*record), connection_->operation_deadline());
      if (record->server_named) connection_->topology().renamed(record->name, reply.name);
      const Topology::Snapshot known = connection_->topology().snapshot();
      for (const BindingRecord& binding : known.bindings) {
        if (!binding.to_queue || binding.destination != reply.name) continue;
        // An auto-delete exchange was deleted with the queue's binding.
        const auto source = std::ranges::find(known.exchanges, binding.source, &ExchangeRecord::name);
        if (source != known.exchanges.end() && source->flags.auto_delete)
          ask(*channel, request::declare_exchange(*source), connection_->operation_deadline());
        ask(*channel, request::bind(binding), connection_->operation_deadline());
      }
    } catch (...) {
      channel->begin_close();
      throw;
    }
    channel->begin_close();
    return true;
  } catch (const Error& error) {
    log(LogLevel::warning, [&] { return fmt::format("the queue is not declared again: {}", error.what()); });
    return false;
  }
}

// Cancels the consumer first: the broker may keep it, and would send it the deliveries that are given back.
// Then gives them back, which must happen before the close.
void Subscription::leave(ChannelCore& channel, const std::string& tag, Deadline deadline) noexcept {
  try {
    if (channel.is_open()) ask(channel, request::cancel(tag), deadline);
  } catch (...) {  // the channel is gone or stalled: its consumer ends with its connection
  }
  try {
    channel.give_back_unsettled();
    channel.close(deadline);
  } catch (...) {
  }
}

// Closes the cancelled channel before another one consumes, so that the broker has freed its number and
// consumer. Otherwise the consumer tag would be used twice, an exclusive consumer would block itself, or the
// single active consumer would be one that is gone.
void Subscription::leave_cancelled() {
  std::shared_ptr<ChannelCore> open;
  std::string tag;
  {
    const std::lock_guard lock(mutex_);
    open = channel_;
    tag = consumer_tag_.value_or("");
  }
  leave(*open, tag, connection_->operation_deadline());
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, resubscribe_pause, [&] { return is_ending(); });
}

// Called after pause(), when the subscription is cancelled already.
void Subscription::leave_stream() {
  const auto open = channel();
  open->retire();
  left(*open);
  apply(SubscriptionEvent::given_up);
  try {
    open->close(connection_->operation_deadline());
  } catch (const Error&) {  // no answer: another channel is opened in addition
  }
}

std::optional<std::int64_t> Subscription::consumer_timeout() const {
  constexpr const char* key = "x-consumer-timeout";
  const FieldValue* value = options_.arguments.find(key);
  const auto record = connection_->topology().find_queue(options_.queue);
  if (value == nullptr && record) value = record->arguments.find(key);
  return value == nullptr ? std::nullopt : value->as_integer();
}

void Subscription::tell_cancelled(const ChannelCore& channel) {
  const auto oldest = channel.oldest_unsettled();
  constexpr const char* cancelled = "the broker cancelled the subscription (basic.cancel)";
  if (oldest.unsettled == 0) {
    return log(LogLevel::warning,
               fmt::format("{} while nothing was unacknowledged: the queue was deleted, or its leader moved",
                           cancelled));
  }
  const std::string held = fmt::format("{}. Unacknowledged deliveries: {}, the oldest for at least {} ms",
                                       cancelled, oldest.unsettled, oldest.held.count());
  constexpr const char* outcome =
      "Their messages come again; what a handler that runs says of one is stale (ConsumerStatus::stale)";
  const auto limit = consumer_timeout();
  if (!limit) {
    return log(
        LogLevel::error,
        fmt::format("{}. The probable cause is the consumer timeout: a running handler, or a message that "
                    "waited for one, took longer than x-consumer-timeout of the queue, or "
                    "consumer_timeout of the broker (1800000 ms by default). Else the queue was deleted, or "
                    "its leader moved. {}",
                    held, outcome));
  }
  if (oldest.held.count() >= *limit) {
    return log(
        LogLevel::error,
        fmt::format("{}, and the consumer timeout is {} ms (x-consumer-timeout): a running handler, or a "
                    "message that waited for one, took longer. {}",
                    held, *limit, outcome));
  }
  log(LogLevel::warning,
      fmt::format(
          "{}, and the consumer timeout is {} ms (x-consumer-timeout): the queue was deleted, its leader "
          "moved, or an older delivery took longer. {}",
          held, *limit, outcome));
}

}  // namespace warren::inline v0::engine
