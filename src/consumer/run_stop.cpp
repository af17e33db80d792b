// How a run ends, by a stop or by itself: its drain, the calls that wait for it, and the call of on_end.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include <warren/error.hpp>

#include "consumer/run.hpp"
#include "consumer/stop_times.hpp"
#include "retry/failure.hpp"
#include "retry/text.hpp"

namespace warren::inline v0::consumer {
namespace {

constexpr std::size_t longest_text = 500;  // in bytes, of an error's text in a log line

// The text of the error that ended a run.
std::string text_of(const std::exception_ptr& error) {
  const retry::Failure failure = retry::describe(error, 0);
  if (failure.error_message.empty()) return "an exception of type " + failure.error_type;
  return retry::to_utf8(failure.error_message, longest_text);
}

}  // namespace

bool Run::is_running() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::running;
}

void Run::request_stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::running && !stopped_at_) {
      stopped_at_ = Clock::now();
      changed_.notify_all();
    }
  }
  subscription_->end(nullptr);
}

bool Run::wait(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const bool waited = phase_ == Phase::running;
  if (!await_end(lock, deadline)) return false;
  if (const auto error = std::exchange(result_, nullptr)) std::rethrow_exception(error);
  tell_cut(waited);
  return true;
}

void Run::stop() {
  request_stop();
  std::unique_lock lock(mutex_);
  const bool waited = phase_ == Phase::running;
  await_end(lock, Clock::time_point::max());
  lock.unlock();
  join();
  lock.lock();
  tell_cut(waited);
}

void Run::join() noexcept {
  std::thread ended;
  {
    const std::lock_guard lock(mutex_);
    ended.swap(supervisor_);
  }
  if (ended.joinable()) ended.join();
}

void Run::leave_alone() noexcept {
  const std::lock_guard lock(mutex_);
  if (supervisor_.joinable()) supervisor_.detach();
}

std::shared_ptr<EndCall> Run::end_call() const {
  const std::lock_guard lock(mutex_);
  return call_end_ ? nullptr : end_call_;
}

// Returns false if the run has not ended at the deadline. If a stop was requested, it always returns within
// the time of that stop.
bool Run::await_end(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  constexpr auto without_end = Clock::time_point::max();
  const auto has_ended = [&] { return phase_ != Phase::running; };
  for (;;) {
    const bool stopping = stopped_at_.has_value();
    const auto leave_by = stopping ? stop_times(common_->options, *stopped_at_).leave_by : without_end;
    const auto changes = [&] { return has_ended() || stopped_at_.has_value() != stopping; };
    if (const auto until = std::min(deadline, leave_by); until == without_end) {
      changed_.wait(lock, changes);
    } else {
      changed_.wait_until(lock, until, changes);
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

// Ends the run while its supervisor, or begin(), still waits for a broker that does not answer. That thread
// ends by itself when its wait is over. The caller holds the lock.
void Run::leave() noexcept {
  if (!workers_.empty()) {
    cut_ = {.handlers = live_workers_, .unsettled = is_manual() ? subscription_->unsettled() : 0};
  }
  for (std::thread& worker : workers_) worker.detach();
  workers_.clear();
  live_workers_ = 0;
  if (supervisor_.joinable()) supervisor_.detach();
  over(Phase::left);
  common_->log(LogLevel::warning, [&] {
    return fmt::format(
        "consumer of \"{}\": the broker did not answer within {} ms of a stop; the "
        "channel is closed later",
        common_->current_queue(), stop_within(common_->options).count());
  });
}

// The caller holds the lock.
void Run::over(Phase phase) noexcept {
  result_ = subscription_->reason();
  phase_ = phase;
  changed_.notify_all();
  if (result_) tell_end();
}

// The caller holds the lock, so that the call of on_end is queued before wait() returns.
void Run::tell_end() noexcept {
  const ConnectionState state = common_->connection->state();
  if (state == ConnectionState::closing || state == ConnectionState::closed)
    return;  // the program closed the connection
  common_->log(LogLevel::error, [&] {
    return fmt::format("consumer of \"{}\": ended: {}", common_->current_queue(), text_of(result_));
  });
  if (!call_end_) return;
  end_call_->queue(result_);
  common_->connection->events().call(std::exchange(call_end_, nullptr));
}

// Throws if the drain did not wait for everything. Each stop() or wait() that waited for the drain gets the
// error. A later call gets it only if no call has got it before. The caller holds the lock.
void Run::tell_cut(bool waited) {
  if (cut_.handlers == 0 && cut_.unsettled == 0) return;
  if (std::exchange(cut_.told, true) && !waited) return;
  const ConsumerOptions& options = common_->options;
  const auto after = std::min(options.drain_timeout, stop_within(options) - closing_time(options)).count();
  std::string text;
  if (cut_.handlers > 0) {
    text = cut_.handlers == 1 ? "a handler still runs" : fmt::format("{} handlers still run", cut_.handlers);
  }
  if (cut_.unsettled > 0) {
    text += fmt::format("{}{} {} unsettled", text.empty() ? "" : ", and ", cut_.unsettled,
                        cut_.unsettled == 1 ? "delivery is" : "deliveries are");
  }
  throw TimeoutError({.operation = fmt::format("stop the consumer of \"{}\"", common_->current_queue()),
                      .text = fmt::format(
                          "{} after {} ms; what is unsettled goes back to the queue. Raise drain_timeout and "
                          "stop_within if more time is needed",
                          text, after)});
}

// Drains the run. Handlers that still run and deliveries that are unsettled at the deadline are counted in
// `cut_`.
void Run::drain() noexcept {
  StopTimes until;  // if the run was left, all deadlines have passed
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::running) until = stop_times(common_->options, stopped_at_.value_or(Clock::now()));
  }
  const bool answers = cancel(until.settle_by);
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, until.settle_by,
                        [&] { return live_workers_ == 0 || phase_ != Phase::running; });
  }
  const std::size_t unsettled = is_manual() ? subscription_->await_settled(until.settle_by) : 0;
  bool drained = false;
  std::vector<std::thread> ended = take_workers(unsettled, drained);
  const auto close_by =
      answers ? std::min(common_->connection->operation_deadline(), until.close_by) : Clock::now();
  subscription_->close(close_by);
  if (suspects_) suspects_->close(close_by);
  if (drained) common_->republisher.disconnect();
  for (std::thread& worker : ended) {
    if (drained) {
      worker.join();
    } else {
      worker.detach();  // a handler can't be ended from outside; its delivery will count as stale
    }
  }
}

// Returns false if the broker did not answer in time.
bool Run::cancel(Clock::time_point until) noexcept {
  const auto answer_by = std::min(common_->connection->operation_deadline(), until);
  const bool answers = subscription_->cancel(answer_by);
  if (!suspects_) return answers;
  return suspects_->cancel(answers ? answer_by : Clock::now()) && answers;
}

// Takes the workers, and notes the handlers and deliveries for which the drain did not wait. Takes no workers
// if the run was left.
std::vector<std::thread> Run::take_workers(std::size_t unsettled, bool& drained) noexcept {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::running) return {};
  drained = live_workers_ == 0;
  cut_ = {.handlers = live_workers_, .unsettled = unsettled};
  live_workers_ = 0;
  return std::exchange(workers_, {});
}

}  // namespace warren::inline v0::consumer
