#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <warren/error.hpp>

#include "consumer/consumer_impl.hpp"
#include "engine/deadline.hpp"
#include "retry/text.hpp"
#include "wire/check.hpp"

// How a run of a consumer ends, asked to or by itself: its drain, those who wait for it, and who is told.

namespace warren::inline v0 {
namespace {

using namespace std::chrono_literals;

constexpr auto closing_margin = 4s;        // beyond drain_timeout, if stop_within is not set
constexpr auto longest_closing = 2s;       // of stop_within
constexpr std::size_t longest_text = 500;  // of an error, in a log, in bytes

// The consumer that the thread is a worker of. Only compared: a thread outlives no consumer that it works
// for.
thread_local const void* worker_of = nullptr;

// What ended a run.
std::string text_of(const std::exception_ptr& error) {
  const retry::Failure failure = retry::describe(error, 0);
  if (failure.error_message.empty()) return "an exception of type " + failure.error_type;
  return retry::to_utf8(failure.error_message, longest_text);
}

}  // namespace

// One call of on_end, on its way to the connection's thread for events, from which it may never come back.
class Consumer::Impl::EndCall {
 public:
  explicit EndCall(ConsumerEndCallback callback) : callback_(std::move(callback)) {}

  // A call that destroys its last copy counts as over.
  static std::function<void()> make(const std::shared_ptr<EndCall>& call) {
    const std::shared_ptr<void> finish(nullptr, [call](void*) { call->finish(); });
    return [call, finish] { call->run(); };
  }
  void queue(std::exception_ptr error) noexcept {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    state_ = State::queued;
  }
  void run() {
    {
      const std::lock_guard lock(mutex_);
      if (state_ != State::queued) return;
      state_ = State::running;
    }
    callback_(error_);
  }
  void finish() noexcept {
    const std::lock_guard lock(mutex_);
    state_ = State::over;
    changed_.notify_all();
  }
  // Returns once it is over. After the deadline it does not begin any more, but may still run.
  void await(Clock::time_point deadline) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return state_ == State::over; });
    if (state_ == State::queued) state_ = State::over;
  }

 private:
  enum class State { idle, queued, running, over };

  const ConsumerEndCallback callback_;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::idle;
};

std::chrono::milliseconds Consumer::Impl::stop_within() const {
  if (options.stop_within) return *options.stop_within;
  const auto most = std::chrono::milliseconds::max() - closing_margin;
  return std::min(options.drain_timeout, most) + closing_margin;
}

// For cancelling's and closing's answers once the time for handlers is over.
std::chrono::milliseconds Consumer::Impl::closing_time() const {
  return std::min<std::chrono::milliseconds>(stop_within() / 5, longest_closing);
}

Consumer::Impl::Bounds Consumer::Impl::bounds(Clock::time_point from) const {
  const auto leave_by = engine::deadline_after(stop_within(), from);
  const auto drained_by = engine::deadline_after(options.drain_timeout, from);
  return {.settle_by = std::min(drained_by, leave_by - closing_time()),
          .close_by = leave_by - closing_time() / 2,
          .leave_by = leave_by};
}

void Consumer::Impl::become_worker() const noexcept { worker_of = this; }
bool Consumer::Impl::in_handler() const noexcept { return worker_of == this; }

void Consumer::Impl::refuse_in_handler(const char* operation) const {
  if (!in_handler()) return;
  wire::refuse_misuse(operation,
                      fmt::format("a handler of the consumer of \"{}\" can't wait for its own end. Call "
                                  "request_stop() in the handler, and {}() on another thread",
                                  queue, operation));
}

bool Consumer::Impl::wait(Clock::time_point deadline) {
  refuse_in_handler("wait");
  std::unique_lock lock(mutex);
  const std::uint64_t mine = run_number;
  const bool waited = running;
  if (!await_end(lock, deadline)) return false;
  if (run_number != mine) return true;  // the next one has begun
  if (const auto error = std::exchange(result, nullptr)) std::rethrow_exception(error);
  tell_cut(waited);
  return true;
}

void Consumer::Impl::request_stop() noexcept {
  RunPtr run;
  {
    const std::lock_guard lock(mutex);
    if (running && !stopped_at) {
      stopped_at = Clock::now();
      changed.notify_all();
    }
    run = current;
  }
  if (run) run->end(nullptr);
}

void Consumer::Impl::stop() {
  refuse_in_handler("stop");
  request_stop();
  std::unique_lock lock(mutex);
  const std::uint64_t mine = run_number;
  const bool waited = running;
  await_end(lock, Clock::time_point::max());
  std::thread ended;
  if (!running) ended.swap(supervisor);
  if (ended.joinable()) {
    lock.unlock();
    ended.join();
    lock.lock();
  }
  if (run_number == mine) tell_cut(waited);
}

void Consumer::Impl::shut_down() noexcept {
  if (in_handler()) {
    request_stop();
    const std::lock_guard lock(mutex);
    if (supervisor.joinable()) supervisor.detach();
    if (end_call) end_call->await(Clock::now());
    return;
  }
  const auto leave_by = bounds(Clock::now()).leave_by;
  try {
    stop();
  } catch (...) {  // a handler that still runs is left to its thread
  }
  std::shared_ptr<EndCall> call;
  {
    const std::lock_guard lock(mutex);
    call.swap(end_call);
  }
  if (call) call->await(connection->events().is_own_thread() ? Clock::now() : leave_by);
}

// False if the run goes on at the deadline. Returns in the time that a stop has, whatever holds it up.
bool Consumer::Impl::await_end(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  constexpr auto without_end = Clock::time_point::max();
  const std::uint64_t mine = run_number;
  const auto has_ended = [&] { return !running || run_number != mine; };
  for (;;) {
    const bool stopping = stopped_at.has_value();
    const auto leave_by = stopping ? bounds(*stopped_at).leave_by : without_end;
    const auto changes = [&] { return has_ended() || stopped_at.has_value() != stopping; };
    if (const auto until = std::min(deadline, leave_by); until == without_end) {
      changed.wait(lock, changes);
    } else {
      changed.wait_until(lock, until, changes);
    }
    if (has_ended()) return true;
    const auto now = Clock::now();
    if (now >= leave_by) {
      leave();
      return true;
    }
    if (now >= deadline) return false;
  }
}

// With the lock held.
void Consumer::Impl::prepare_end_call() {
  if (!options.on_end) return;
  auto call = std::make_shared<EndCall>(options.on_end);
  call_end = EndCall::make(call);
  next_end_call = std::move(call);
}

// Ends the run without its supervisor, or start(), which waits for a broker that does not answer: it ends on
// its own once that is over. With the lock held.
void Consumer::Impl::leave() noexcept {
  if (!workers.empty()) {
    const bool manual = options.ack_mode == AckMode::manual;
    cut = {.handlers = live_workers, .unsettled = manual ? current->unsettled() : 0};
  }
  for (std::thread& worker : workers) worker.detach();
  workers.clear();
  live_workers = 0;
  if (supervisor.joinable()) supervisor.detach();
  over();
  log(LogLevel::warning, [&] {
    return fmt::format(
        "consumer of \"{}\": the broker did not answer within {} ms of a stop; the "
        "channel is closed later",
        queue, stop_within().count());
  });
}

// With the lock held.
void Consumer::Impl::over() noexcept {
  result = current->reason();
  running = false;
  changed.notify_all();
  if (result) tell_end();
}

// With the lock held, so that it is queued before wait() returns.
void Consumer::Impl::tell_end() noexcept {
  const ConnectionState state = connection->state();
  if (state == ConnectionState::closing || state == ConnectionState::closed)
    return;  // the program's own wish
  log(LogLevel::error, [&] { return fmt::format("consumer of \"{}\": ended: {}", queue, text_of(result)); });
  if (!next_end_call) return;
  end_call = std::move(next_end_call);
  end_call->queue(result);
  connection->events().call(std::exchange(call_end, nullptr));
}

// Throws for each stop() or wait() that waited for it, and once more for one that came later. With the lock
// held.
void Consumer::Impl::tell_cut(bool waited) {
  if (cut.handlers == 0 && cut.unsettled == 0) return;
  if (std::exchange(cut.told, true) && !waited) return;
  const auto after = std::min(options.drain_timeout, stop_within() - closing_time()).count();
  std::string text;
  if (cut.handlers > 0) {
    text = cut.handlers == 1 ? "a handler still runs" : fmt::format("{} handlers still run", cut.handlers);
  }
  if (cut.unsettled > 0) {
    text += fmt::format("{}{} {} unsettled", text.empty() ? "" : ", and ", cut.unsettled,
                        cut.unsettled == 1 ? "delivery is" : "deliveries are");
  }
  throw TimeoutError({.operation = fmt::format("stop the consumer of \"{}\"", queue),
                      .text = fmt::format(
                          "{} after {} ms; what is unsettled goes back to the queue. Raise drain_timeout and "
                          "stop_within if more time is needed",
                          text, after)});
}

// What is still running or unsettled at the end of the time for it, is in `cut`.
void Consumer::Impl::drain(Subscription& run, Subscription* beside) noexcept {
  Bounds until;  // of a run that was left: all over
  {
    const std::lock_guard lock(mutex);
    if (is_current(run)) until = bounds(stopped_at.value_or(Clock::now()));
  }
  const auto answer_by = std::min(connection->operation_deadline(), until.settle_by);
  bool answers = run.cancel(answer_by);
  if (beside != nullptr) answers = beside->cancel(answers ? answer_by : Clock::now()) && answers;
  {
    std::unique_lock lock(mutex);
    changed.wait_until(lock, until.settle_by, [&] { return live_workers == 0 || !is_current(run); });
  }
  const bool manual = options.ack_mode == AckMode::manual;
  const std::size_t unsettled = manual ? run.await_settled(until.settle_by) : 0;
  std::vector<std::thread> ended;
  bool drained = false;
  {
    const std::lock_guard lock(mutex);
    if (is_current(run)) {
      drained = live_workers == 0;
      cut = {.handlers = live_workers, .unsettled = unsettled};
      ended.swap(workers);
      live_workers = 0;
    }
  }
  const auto close_by = answers ? std::min(connection->operation_deadline(), until.close_by) : Clock::now();
  run.close(close_by);
  if (beside != nullptr) beside->close(close_by);
  if (drained) republisher.disconnect();
  for (std::thread& worker : ended) {
    if (drained) {
      worker.join();
    } else {
      worker.detach();  // a handler can't be ended from outside; its outcome will be stale
    }
  }
}

}  // namespace warren::inline v0
