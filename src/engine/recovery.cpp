// ConnectionCore after its connection is lost: how it connects again and restores the rest.

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <new>

#include "engine/connection_core.hpp"
#include "engine/no_memory.hpp"
#include "engine/replay.hpp"
#include "engine/system.hpp"
#include "wire/status.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;
using namespace std::chrono_literals;

constexpr auto pending_pause = 250ms;  // between two rounds of pending queues, in the first minute
constexpr auto late_pending_pause = 1s;
constexpr auto early = 60s;

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

void ConnectionCore::drop(std::string_view reason) noexcept {
  std::string text = text_or_no_memory([&] { return std::string(reason); });
  {
    const std::lock_guard lock(mutex_);
    if (!connected_) return;
    drop_reason_ = std::move(text);
  }
  outbox_.wakeup().wake();
}

void ConnectionCore::add(std::weak_ptr<Recoverable> recoverable) {
  const std::lock_guard lock(mutex_);
  auto all = std::make_shared<std::vector<std::weak_ptr<Recoverable>>>();
  all->reserve(recoverables_->size() + 1);
  std::ranges::copy_if(*recoverables_, std::back_inserter(*all),
                       [](const auto& each) { return !each.expired(); });
  all->push_back(std::move(recoverable));
  recoverables_ = std::move(all);
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
  if (in_time || is_end(state_)) raise(operation);
  ErrorDetails error = error_.value_or(ErrorDetails{.scope = ErrorScope::connection});
  error.operation = operation;
  error.text = fmt::format("the connection was lost ({}), and its recovery had not ended by the deadline: {}",
                           error.text, progress());
  throw ConnectionError(std::move(error));
}

// True if the connection will be recovered. The error is then marked as transient.
bool ConnectionCore::lose(ErrorDetails& error) noexcept {
  if (!options_.recovery.enabled) return false;
  const ErrorDetails of_the_call = kept(error);
  if (!begin_outage(error) || !enter(ConnectionState::waiting, &error)) return false;
  events_.log(LogLevel::warning, [&] {
    return fmt::format("the connection was lost, and is tried again: {}", Error(error).what());
  });
  backoff_.lost(Clock::now());
  const Recoverables all = recoverables();  // a copy: add() may replace the list meanwhile
  for (const auto& each : *all) {
    if (const auto recoverable = each.lock()) recoverable->lost();
  }
  fail_channels(of_the_call);
  return true;
}

// False if each attempt would meet the error again. Otherwise marks the error as transient.
bool ConnectionCore::begin_outage(ErrorDetails& error) noexcept {
  const std::lock_guard lock(mutex_);
  // If a call of the program caused the error, the connection recovers without that call. If recovery's own
  // requests caused it, each attempt would fail. A publish that is on trial is found and given up. For 402,
  // 403 and 530, the next login shows whether user and virtual host are refused.
  const bool asked_again = recovering_ && trial_ == nullptr && wire::ends_recovery(error.code);
  if (error.permanent && asked_again) return false;
  error.permanent = false;
  error_ = kept(error);
  // A connection that logged in but was never open was not stable, so the outage continues.
  if (recovering_) backoff_.connected(Clock::now());
  recovering_ = true;
  reconnected_ = false;  // if the recovery thread has not reset it
  ++generation_;
  return true;
}

// The state of one reconnect().
struct ConnectionCore::Attempts {
  ErrorDetails last;                      // of the latest attempt
  std::optional<Deadline> refused_until;  // counted from the first refused login
  bool all_permanent = true;              // in this round over the endpoints
};

// Returns nullopt once connected or closing, else the error that ends recovery. `last` is the loss's error:
// if the connection was not stable, no attempts may be left.
std::optional<ErrorDetails> ConnectionCore::reconnect(ErrorDetails last) noexcept {
  Attempts attempts{.last = std::move(last), .refused_until = {}};
  for (;;) {
    auto delay = backoff_.next(Clock::now());
    if (!delay) {
      attempts.last.text =
          text_or_no_memory([&] { return "recovery gave up; the last try: " + attempts.last.text; });
      return std::move(attempts.last);
    }
    if (attempts.refused_until) {  // the last attempt is at the end of that time
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*attempts.refused_until - Clock::now());
      delay = std::clamp(left, 0ms, *delay);
    }
    const auto closing = [this] { return state() == ConnectionState::closing; };
    if (!pause(*delay, closing) || !enter(ConnectionState::connecting)) return std::nullopt;
    attempts.all_permanent = true;
    for (std::size_t i = 0; i < endpoints_.size(); ++i) {
      try {
        if (connect_again(endpoints_[next_endpoint_ % endpoints_.size()], attempts)) return std::nullopt;
      } catch (...) {  // no memory; the next attempt may have some
        attempts.last = lost_without_memory();
        attempts.last.operation = "connect";
        attempts.all_permanent = false;
        events_.log(LogLevel::warning, [&] { return std::string(Error(attempts.last).what()); });
      }
    }
    if (attempts.all_permanent) return std::move(attempts.last);
    if (!enter(ConnectionState::waiting, &attempts.last)) return std::nullopt;
  }
}

// True once connected, or if close() was called.
bool ConnectionCore::connect_again(const Endpoint& endpoint, Attempts& attempts) {
  const auto patience = options_.recovery.retry_refused_login;
  const auto closing = [this] { return state() == ConnectionState::closing; };
  try {
    auto transport = attempt(endpoint, login(options_), closing);
    if (!transport) return true;
    connected(std::move(transport), endpoint);
    const std::lock_guard lock(mutex_);
    reconnected_ = true;
    changed_.notify_all();
    return true;
  } catch (const Error& error) {
    ++next_endpoint_;
    attempts.last = kept(error.details());
    if (error.permanent() && wire::is_refused_login(error.code()) && patience > 0ms) {
      auto& until = attempts.refused_until;
      if (!until) until = deadline_after(patience);
      if (Clock::now() < *until) {
        attempts.all_permanent = false;
        events_.log(LogLevel::warning, [&] {
          return fmt::format("the login was refused, and is tried again for {:.1f} s more: {}",
                             std::chrono::duration<double>(*until - Clock::now()).count(), error.what());
        });
        return false;
      }
    }
    attempts.all_permanent = attempts.all_permanent && error.permanent();
    events_.log(LogLevel::warning, [&] { return error.what(); });
    return false;
  }
}

// False if `given_up` returned true. The change must wake the thread (see Outbox::wakeup()).
bool ConnectionCore::pause(std::chrono::milliseconds delay, const std::function<bool()>& given_up) {
  const auto until = Clock::now() + delay;
  for (auto now = Clock::now(); now < until; now = Clock::now()) {
    if (given_up()) return false;
    outbox_.wakeup().wait(-1, false, std::chrono::ceil<std::chrono::milliseconds>(until - now));
  }
  return !given_up();
}

// Null if the attempt was given up, which ends it at once.
std::unique_ptr<wire::Transport> ConnectionCore::attempt(const Endpoint& endpoint, wire::LoginOptions options,
                                                         const std::function<bool()>& given_up) {
  options.wait = [&](int descriptor, bool for_writing, Deadline deadline) {
    for (;;) {
      if (given_up()) return wire::Waited::given_up;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (left <= 0ms) return wire::Waited::timed_out;
      if (outbox_.wakeup().wait(descriptor, for_writing, left)) return wire::Waited::ready;
    }
  };
  try {
    return wire::Transport::connect(endpoint, options);
  } catch (const wire::GivenUp&) {
    return nullptr;
  }
}

void ConnectionCore::recover_loop() noexcept {
  std::unique_lock lock(mutex_);
  Deadline open_since{};
  for (;;) {
    const auto called = [&] { return reconnected_ || ended_; };
    while (!called() && state_ == ConnectionState::open && topology_.has_pending()) {
      const auto pause = Clock::now() - open_since < early ? pending_pause : late_pending_pause;
      if (changed_.wait_for(lock, pause, called)) break;
      if (state_ != ConnectionState::open) continue;
      lock.unlock();
      declare_pending();
      lock.lock();
    }
    changed_.wait(lock, called);
    if (ended_) return;
    reconnected_ = false;
    const std::uint64_t generation = generation_;
    lock.unlock();
    std::vector<NotRecovered> missing;
    const bool restored = restore(missing);
    lock.lock();
    if (!restored || generation != generation_ || state_ != ConnectionState::connecting) continue;
    recovering_ = false;
    error_.reset();
    state_ = ConnectionState::open;
    changed_.notify_all();
    open_since = Clock::now();
    events_.log(LogLevel::info, [] { return "the connection has recovered"; });
    events_.state(ConnectionState::open, {}, nullptr, std::move(missing));
  }
}

// A blocking broker reads nothing once a message was published again. That would be so on another connection
// too, so the recovery waits here.
void ConnectionCore::recover(Recoverable& recoverable) {
  for (;;) {
    try {
      return recoverable.recover(operation_deadline());
    } catch (const TimeoutError&) {
      std::unique_lock lock(mutex_);
      if (!blocked_) throw;
      events_.log(LogLevel::warning, [] { return "the recovery waits while the broker blocks"; });
      const std::uint64_t generation = generation_;
      changed_.wait(lock, [&] { return !blocked_ || generation != generation_; });
    }
  }
}

// False if the connection was lost again.
bool ConnectionCore::restore(std::vector<NotRecovered>& missing) noexcept {
  try {
    {
      Replay replay(*this);
      replay.declare_all();
      missing = std::move(replay.refused());
    }
    const Recoverables all = recoverables();  // a copy: add() may replace the list meanwhile
    for (const auto& each : *all) {
      const auto recoverable = each.lock();
      if (!recoverable) continue;
      try {
        recover(*recoverable);
      } catch (const ConnectionError&) {
        return false;
      } catch (const TimeoutError&) {
        throw;
      } catch (const Error& error) {  // the object has told its own callers
        events_.log(LogLevel::error, [&] { return fmt::format("not recovered: {}", error.what()); });
      }
    }
    return true;
  } catch (const ConnectionError&) {
    return false;
  } catch (const TimeoutError& error) {
    drop(text_or_no_memory(
        [&] { return fmt::format("the broker did not answer during recovery: {}", error.what()); }));
    return false;
  } catch (const std::bad_alloc&) {  // another attempt may have memory
    drop(no_memory);
    return false;
  } catch (const std::exception& error) {
    drop(text_or_no_memory(
        [&] { return fmt::format("the recovery of the topology failed: {}", error.what()); }));
    return false;
  }
}

// One round over the queues that another connection still holds. Usually that is the lost connection, until
// the broker notices the loss.
void ConnectionCore::declare_pending() noexcept {
  constexpr std::size_t log_every = 64;  // rounds
  try {
    std::vector<QueueRecord> queues = topology_.pending();
    if (queues.empty()) return;
    const std::size_t turn = ++pending_turn_;
    const auto first = static_cast<std::ptrdiff_t>(turn % queues.size());
    std::rotate(queues.begin(), queues.begin() + first, queues.end());
    Replay again(*this);
    try {
      again.declare_pending(queues);
      if (const auto left = topology_.pending(); !left.empty() && turn % log_every == 0) {
        events_.log(LogLevel::warning,
                    fmt::format("queue \"{}\" and {} others are still held by another connection (405), and "
                                "are tried again",
                                left.front().name, left.size() - 1));
      }
    } catch (const ConnectionError&) {  // lost: the next recovery declares all queues
    } catch (const TimeoutError& error) {
      drop(fmt::format("the broker did not answer: {}", error.what()));
    } catch (const Error& error) {  // for example, all channel numbers are taken
      if (turn % log_every == 1) {
        events_.log(LogLevel::warning, fmt::format("queue \"{}\" is not declared again yet: {}",
                                                   queues.front().name, error.what()));
      }
    }
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
    if (again.refused().empty() || state_ != ConnectionState::open) return;
    events_.state(state_, blocked_, nullptr, std::move(again.refused()));
  } catch (...) {  // no memory: the next round may have some
  }
}

void ConnectionCore::await_queue(const std::string& queue, const std::function<bool()>& stop) {
  if (!queue_is_pending(queue)) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock,
                [&] { return state_ != ConnectionState::open || stop() || !topology_.is_pending(queue); });
}

void ConnectionCore::expect_declarations(std::size_t total) {
  const std::lock_guard lock(mutex_);
  progress_ = {.done = 0, .total = total};
}

ConnectionCore::Progress ConnectionCore::count_declaration() {
  const std::lock_guard lock(mutex_);
  ++progress_.done;
  return progress_;
}

// Describes the recovery's progress; called with the lock held.
std::string ConnectionCore::progress() const {
  if (state_ == ConnectionState::waiting) return "it waits for its next try to connect";
  if (!connected_) return "it is connecting";
  if (progress_.total == 0) return "it is connected, and what was in flight is sent again";
  return fmt::format("{} of {} declarations of the topology are answered", progress_.done, progress_.total);
}

}  // namespace warren::inline v0::engine
