#include "consumer/common.hpp"

#include <fmt/format.h>

#include <algorithm>

#include <warren/connection.hpp>

#include "consumer/stop_times.hpp"
#include "retry/text.hpp"
#include "wire/check.hpp"

namespace warren::inline v0::consumer {
namespace {

// The consumer whose handlers this thread runs. It is only compared, never dereferenced.
thread_local const void* worker_of = nullptr;

}  // namespace

Common::Common(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted)
    : connection(std::move(core)),
      queue(std::move(name)),
      options(std::move(wanted)),
      republisher(
          retry::PublishingConnection::of(connection),
          std::min(connection->options().close_timeout, closing_time(options) / 4), options.retry, queue,
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
