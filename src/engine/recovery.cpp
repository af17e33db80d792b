// ConnectionCore once its connection is lost: connecting again, and putting back what was there.

#include <fmt/format.h>

#include <algorithm>

#include "engine/connection_core.hpp"
#include "engine/system.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;
using namespace std::chrono_literals;

constexpr int locked_tries = 20;  // of a queue that the connection before still holds (405)
constexpr auto locked_pause = 250ms;
constexpr std::uint16_t locked = 405;

// One try to connect, on a thread of its own: rabbitmq-c's connect and login block, and close() must not wait
// for them. What is not waited for any more ends by its own timeout.
struct Attempt {
  Wakeup done;
  std::mutex mutex;
  std::unique_ptr<wire::Transport> transport;
  std::optional<ErrorDetails> error;
};

bool is_end(ConnectionState state) {
  return state == ConnectionState::closing || state == ConnectionState::closed ||
         state == ConnectionState::failed;
}

}  // namespace

bool ConnectionCore::is_recovering() const {
  const std::lock_guard lock(mutex_);
  return recovering_;
}

bool ConnectionCore::has_ended() const {
  const std::lock_guard lock(mutex_);
  return is_end(state_);
}

void ConnectionCore::check_not_ended(const std::string& operation) const {
  const std::lock_guard lock(mutex_);
  if (is_end(state_)) raise(operation);
}

void ConnectionCore::drop(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (!connected_) return;
    drop_reason_ = reason;
  }
  outbox_.wakeup().wake();
}

void ConnectionCore::add(std::weak_ptr<Recoverable> recoverable) {
  const std::lock_guard lock(mutex_);
  std::erase_if(recoverables_, [](const auto& each) { return each.expired(); });
  recoverables_.push_back(std::move(recoverable));
}

void ConnectionCore::notify() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void ConnectionCore::await_open(const std::string& operation, Deadline deadline,
                                const std::function<bool()>& stop) {
  std::unique_lock lock(mutex_);
  const auto settled = [&] {
    return (state_ != ConnectionState::connecting && state_ != ConnectionState::waiting) || (stop && stop());
  };
  const bool in_time = changed_.wait_until(lock, deadline, settled);
  if (state_ == ConnectionState::open || (in_time && stop && stop())) return;
  raise(operation);
}

// True where the connection is to be recovered: then the error is one that passes.
bool ConnectionCore::lose(ErrorDetails& error) {
  if (!options_.recovery.enabled) return false;
  const ErrorDetails of_the_call = error;
  {
    const std::lock_guard lock(mutex_);
    // What somebody asked for here and can't have is his error: the connection goes on without it. What
    // recovery itself asks for again would end each try. A publish that is on trial is found, and given up.
    const bool for_a_call =
        (!recovering_ || trial_ != nullptr) && (error.code == 503 || error.code == 540 || error.code == 541);
    if (error.permanent && !for_a_call) return false;
    error.permanent = false;
    error_ = error;
    // What logged in and did not come to be open, was not stable: the outage goes on.
    if (recovering_) backoff_.connected(Clock::now());
    recovering_ = true;
    reconnected_ = false;  // where the recovery thread did not come to it
    ++generation_;
  }
  if (!enter(ConnectionState::waiting, error)) return false;
  events_.log(LogLevel::warning,
              fmt::format("the connection was lost, and is tried again: {}", Error(error).what()));
  backoff_.lost(Clock::now());
  for (const auto& each : recoverables()) {
    if (const auto recoverable = each.lock()) recoverable->lost();
  }
  fail_channels(of_the_call);
  if (!recovery_.joinable()) {
    try {
      recovery_ = start_thread("warren-recovery", [this] { recover_loop(); });
    } catch (const Error&) {
      return false;
    }
  }
  return true;
}

// Returns once connected, or closing; else the error that ends it all. `last` is the loss: where the
// connection before was not stable, the tries may be used up.
std::optional<ErrorDetails> ConnectionCore::reconnect(ErrorDetails last) {
  for (;;) {
    const auto delay = backoff_.next(Clock::now());
    if (!delay) {
      last.text = "recovery gave up; the last try: " + last.text;
      return last;
    }
    if (!pause(*delay) || !enter(ConnectionState::connecting)) return std::nullopt;
    bool all_permanent = true;
    for (std::size_t i = 0; i < endpoints_.size(); ++i) {
      const Endpoint& endpoint = endpoints_[next_endpoint_ % endpoints_.size()];
      try {
        auto transport = attempt(endpoint);
        if (!transport) return std::nullopt;
        connected(std::move(transport), endpoint);
        const std::lock_guard lock(mutex_);
        reconnected_ = true;
        changed_.notify_all();
        return std::nullopt;
      } catch (const Error& error) {
        ++next_endpoint_;
        last = error.details();
        all_permanent = all_permanent && error.permanent();
        events_.log(LogLevel::warning, error.what());
      } catch (const std::exception& error) {  // no memory, say
        last = {.operation = "connect", .text = error.what(), .scope = ErrorScope::connection};
        all_permanent = false;
        events_.log(LogLevel::warning, error.what());
      }
    }
    if (all_permanent) return last;
    if (!enter(ConnectionState::waiting, last)) return std::nullopt;
  }
}

// False where close() came.
bool ConnectionCore::pause(std::chrono::milliseconds delay) {
  const auto until = Clock::now() + delay;
  for (auto now = Clock::now(); now < until; now = Clock::now()) {
    if (state() == ConnectionState::closing) return false;
    outbox_.wakeup().wait(-1, false, std::chrono::ceil<std::chrono::milliseconds>(until - now));
  }
  return state() != ConnectionState::closing;
}

// Null where close() came.
std::unique_ptr<wire::Transport> ConnectionCore::attempt(const Endpoint& endpoint) {
  const auto attempt = std::make_shared<Attempt>();
  start_thread("warren-connect", [attempt, endpoint, options = login(options_)] {
    std::unique_ptr<wire::Transport> transport;
    std::optional<ErrorDetails> error;
    try {
      transport = wire::Transport::connect(endpoint, options);
    } catch (const Error& failure) {
      error = failure.details();
    } catch (const std::exception& failure) {
      error = ErrorDetails{.text = failure.what(), .scope = ErrorScope::connection};
    }
    const std::lock_guard lock(attempt->mutex);
    attempt->transport = std::move(transport);
    attempt->error = std::move(error);
    attempt->done.wake();
  }).detach();
  for (;;) {
    if (state() == ConnectionState::closing) return nullptr;
    {
      const std::lock_guard lock(attempt->mutex);
      if (attempt->error) throw ConnectionError(*attempt->error);
      if (attempt->transport) return std::move(attempt->transport);
    }
    outbox_.wakeup().wait(attempt->done.descriptor(), false, -1ms);
  }
}

void ConnectionCore::recover_loop() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return reconnected_ || ended_; });
    if (ended_) return;
    reconnected_ = false;
    const std::uint64_t generation = generation_;
    lock.unlock();
    const bool restored = restore();
    lock.lock();
    if (!restored || generation != generation_ || state_ != ConnectionState::connecting) continue;
    recovering_ = false;
    error_.reset();
    state_ = ConnectionState::open;
    changed_.notify_all();
    events_.log(LogLevel::info, "the connection has recovered");
    events_.state({.state = ConnectionState::open, .blocked = {}, .error = {}});
  }
}

// While the broker blocks it reads nothing, since something was published again: on another connection that
// would be so, too.
void ConnectionCore::recover(Recoverable& recoverable) {
  for (;;) {
    try {
      return recoverable.recover(operation_deadline());
    } catch (const TimeoutError&) {
      std::unique_lock lock(mutex_);
      if (!blocked_) throw;
      events_.log(LogLevel::warning, "the recovery waits while the broker blocks");
      const std::uint64_t generation = generation_;
      changed_.wait(lock, [&] { return !blocked_ || generation != generation_; });
    }
  }
}

// False where the connection was lost again.
bool ConnectionCore::restore() noexcept {
  try {
    replay();
    std::vector<std::weak_ptr<Recoverable>> recoverables;
    {
      const std::lock_guard lock(mutex_);
      recoverables = recoverables_;
    }
    for (const auto& each : recoverables) {
      const auto recoverable = each.lock();
      if (!recoverable) continue;
      try {
        recover(*recoverable);
      } catch (const ConnectionError&) {
        return false;
      } catch (const TimeoutError&) {
        throw;
      } catch (const Error& error) {  // it has told its own callers
        events_.log(LogLevel::error, fmt::format("not recovered: {}", error.what()));
      }
    }
    return true;
  } catch (const ConnectionError&) {
    return false;
  } catch (const TimeoutError& error) {
    drop(fmt::format("the broker did not answer during recovery: {}", error.what()));
    return false;
  } catch (const std::exception& error) {
    events_.log(LogLevel::error, fmt::format("the topology was not recovered: {}", error.what()));
    return true;
  }
}

// One entity; where the broker refuses it, that is told, and the others go on, on another channel.
template <typename Encode>
std::optional<Reply> ConnectionCore::declare_again(std::shared_ptr<ChannelCore>& channel,
                                                   const std::string& operation, std::uint32_t expected,
                                                   Encode&& encode) {
  for (int tries = 1;; ++tries) {
    if (!channel || !channel->is_open()) channel = open_channel(operation_deadline(), {}, Access::recovery);
    try {
      return channel->call(operation, expected, operation_deadline(), encode);
    } catch (const ChannelError& error) {
      // The broker has not noticed yet that the connection before is gone.
      if (error.code() == locked && tries < locked_tries) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, locked_pause, [&] { return ended_; });
        continue;
      }
      // A queue whose node is down is there, and comes back with its node.
      const auto level = wire::is_node_down(error.code(), error.text()) ? LogLevel::warning : LogLevel::error;
      events_.log(level, fmt::format("not declared again: {}", error.what()));
      return std::nullopt;
    } catch (const InvalidArgument& error) {  // it no longer fits a frame
      events_.log(LogLevel::error, fmt::format("not declared again: {}", error.what()));
      return std::nullopt;
    }
  }
}

void ConnectionCore::replay() {
  const Topology::Snapshot known = topology_.snapshot();
  if (known.exchanges.empty() && known.queues.empty() && known.bindings.empty()) return;
  std::shared_ptr<ChannelCore> channel;
  for (const ExchangeRecord& exchange : known.exchanges) {
    declare_again(channel, fmt::format("exchange.declare \"{}\"", exchange.name), id::exchange_declare_ok,
                  [&](Bytes& out, std::uint16_t number) {
                    wire::exchange_declare(out, number, exchange.name, exchange.type, exchange.flags,
                                           exchange.arguments);
                  });
  }
  for (const QueueRecord& queue : known.queues) {
    const auto reply = declare_again(channel, fmt::format("queue.declare \"{}\"", queue.name),
                                     id::queue_declare_ok, [&](Bytes& out, std::uint16_t number) {
                                       wire::queue_declare(out, number, queue.server_named ? "" : queue.name,
                                                           queue.flags, queue.arguments);
                                     });
    if (reply && queue.server_named) topology_.renamed(queue.name, reply->name);
  }
  for (const BindingRecord& binding : topology_.snapshot().bindings) {
    const std::string operation =
        fmt::format("{}.bind \"{}\" to \"{}\"", binding.to_queue ? "queue" : "exchange", binding.destination,
                    binding.source);
    declare_again(channel, operation, binding.to_queue ? id::queue_bind_ok : id::exchange_bind_ok,
                  [&](Bytes& out, std::uint16_t number) {
                    const auto bind = binding.to_queue ? wire::queue_bind : wire::exchange_bind;
                    bind(out, number, binding.destination, binding.source, binding.routing_key,
                         binding.arguments);
                  });
  }
  if (channel) channel->begin_close();
}

}  // namespace warren::inline v0::engine
