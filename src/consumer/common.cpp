#include "consumer/common.hpp"

#include <fmt/format.h>

#include <algorithm>

#include <warren/connection.hpp>

#include "consumer/stop_times.hpp"
#include "retry/text.hpp"
#include "wire/check.hpp"

namespace warren::inline v0::consumer {
namespace {

// The consumer that the thread is a worker of. Only compared: a thread outlives no consumer that it works
// for.
thread_local const void* worker_of = nullptr;

// The connection for copies: as the consumer's, under a name of its own, and silent, since what goes wrong
// there is logged by who sends. Nothing is lost if it is cut: a copy counts once it is confirmed.
Connection open_publishing(const engine::ConnectionCore& beside, std::chrono::milliseconds close_timeout) {
  ConnectionOptions options = beside.options();
  options.name = options.name.empty() ? "retry" : options.name + " (retry)";
  options.on_log = nullptr;
  options.on_state = nullptr;
  options.recovery.enabled = false;  // who sends opens another one
  // Whoever published a message may have had larger frames than this consumer, and its copy needs them too.
  options.frame_max = std::max(options.frame_max, std::uint32_t{131'072});
  options.close_timeout = std::min(options.close_timeout, close_timeout);
  return Connection(beside.endpoints(), std::move(options));
}

}  // namespace

Common::Common(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
    : connection(std::move(core)),
      queue(std::move(name)),
      options(std::move(wanted)),
      republisher([this] { return open_publishing(*connection, closing_time(options) / 4); }, options.retry,
                  queue,
                  [this](LogLevel level, const std::string& text) { connection->events().log(level, text); },
                  [this](const std::string& named) { return connection->topology().current_name(named); }),
      watch(options.handler_timeout, [this](const std::string& what) {
        log(LogLevel::warning, fmt::format("a handler of \"{}\" runs for longer than {} ms: {}",
                                           current_queue(), options.handler_timeout->count(), what));
      }) {
  if (options.circuit_breaker) breaker.emplace(*options.circuit_breaker);
  if (options.crash_guard) guard.emplace(queue, *options.crash_guard, retry::random_uuid());
}

void Common::become_worker() const noexcept { worker_of = this; }
bool Common::in_handler() const noexcept { return worker_of == this; }

void Common::refuse_in_handler(const char* operation) const {
  if (!in_handler()) return;
  wire::refuse_misuse(operation,
                      fmt::format("a handler of the consumer of \"{}\" can't wait for its own end. Call "
                                  "request_stop() in the handler, and {}() on another thread",
                                  current_queue(), operation));
}

}  // namespace warren::inline v0::consumer
