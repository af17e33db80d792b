// The first connect of a ConnectionCore: each endpoint once, or until the deadline of
// ConnectionOptions::first_connect.

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <stop_token>
#include <utility>

#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto shortest_try = 20ms;  // a shorter attempt is not worthwhile

// Uses only the delays of RecoveryOptions. Its other limits do not apply to the first connect.
RecoveryOptions pauses_of(RecoveryOptions options) {
  options.max_tries.reset();
  options.give_up_after.reset();
  return options;
}

}  // namespace

// The state of one connect_first().
struct ConnectionCore::FirstConnect {
  std::optional<Deadline> until;
  std::function<bool()> stopped;
  std::optional<ErrorDetails> last;
  bool all_permanent = true;  // in this round over the endpoints

  [[nodiscard]] milliseconds left() const {
    return until ? std::chrono::ceil<milliseconds>(*until - Clock::now()) : milliseconds::max();
  }
};

void ConnectionCore::connect_first() {
  const FirstConnectOptions& options = options_.first_connect;
  FirstConnect first{.until = {}, .stopped = [&] { return options.stop.stop_requested(); }, .last = {}};
  if (options.within) first.until = deadline_after(*options.within);
  const std::stop_callback wake(options.stop, [this] { outbox_.wakeup().wake(); });
  Backoff backoff(pauses_of(options_.recovery), std::random_device()());
  backoff.lost(Clock::now());
  for (;;) {
    if (try_each_endpoint(first)) return;
    if (!first.until || first.all_permanent || first.left() < shortest_try) break;
    // The last attempt starts some time before the deadline, so that it can succeed.
    const auto left = first.left();
    const auto delay =
        std::min(backoff.next(Clock::now()).value_or(0ms), std::max<milliseconds>(left - 1s, left / 2));
    events_.log(LogLevel::info,
                [&] { return fmt::format("the first connect is tried again in {} ms", delay.count()); });
    if (!pause(delay, first.stopped)) break;
  }
  if (!first.stopped()) throw ConnectionError(first.last.value_or(ErrorDetails{}));
  throw ConnectionError(
      {.operation = "connect",
       .text = fmt::format("a stop was requested before the connection was made{}{}",
                           first.last ? "; the last try: " : "", first.last ? first.last->text : ""),
       .scope = ErrorScope::connection});
}

// True once connected. False if each endpoint has failed, or if a stop was requested.
bool ConnectionCore::try_each_endpoint(FirstConnect& first) {
  first.all_permanent = true;
  for (std::size_t i = 0; i < endpoints_.size(); ++i) {
    if (first.stopped()) return false;
    wire::LoginOptions options = login(options_);
    if (first.until) {  // an endpoint that does not answer must leave time for the others
      const auto share = first.left() / static_cast<milliseconds::rep>(endpoints_.size() - i);
      options.timeout = std::min(options.timeout, std::max<milliseconds>(share, shortest_try));
    }
    try {
      auto transport = attempt(endpoints_[i], std::move(options), first.stopped);
      if (!transport) return false;
      connected(std::move(transport), endpoints_[i]);
      return true;
    } catch (const ConnectionError& error) {
      first.all_permanent = first.all_permanent && error.permanent();
      events_.log(LogLevel::warning, [&] { return error.what(); });
      first.last = error.details();
    }
  }
  return false;
}

}  // namespace warren::inline v0::engine
