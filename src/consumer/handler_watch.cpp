#include "consumer/handler_watch.hpp"

#include <algorithm>
#include <utility>

#include "engine/deadline.hpp"
#include "engine/system.hpp"

namespace warren::inline v0::consumer {

using Clock = std::chrono::steady_clock;

HandlerWatch::HandlerWatch(std::optional<std::chrono::milliseconds> limit, Report report)
    : limit_(limit), report_(std::move(report)) {}

HandlerWatch::~HandlerWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void HandlerWatch::start() {
  if (!limit_) return;
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = engine::start_thread("warren-watch", [this] { watch(); });
}

HandlerWatch::Run::Run(HandlerWatch& watch, const std::string& what) : watch_(watch) {
  if (!watch_.limit_) return;
  const std::lock_guard lock(watch_.mutex_);
  const bool idle = std::ranges::find(watch_.running_, false, &Entry::told) == watch_.running_.end();
  entry_ = watch_.running_.insert(watch_.running_.end(),
                                  Entry{engine::deadline_after(*watch_.limit_), what, false});
  if (idle) watch_.changed_.notify_all();
}

HandlerWatch::Run::~Run() {
  if (!watch_.limit_) return;
  const std::lock_guard lock(watch_.mutex_);
  watch_.running_.erase(entry_);
}

bool HandlerWatch::Run::is_late() const noexcept { return watch_.limit_ && Clock::now() >= entry_->deadline; }

std::uint64_t HandlerWatch::late() const {
  const std::lock_guard lock(mutex_);
  return late_;
}

void HandlerWatch::watch() noexcept {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto next = std::ranges::find(running_, false, &Entry::told);
    if (next == running_.end()) {
      changed_.wait(lock);
    } else if (const auto deadline = next->deadline; Clock::now() < deadline) {
      changed_.wait_until(lock, deadline);
    } else {
      next->told = true;
      ++late_;
      const std::string what = std::move(next->what);
      lock.unlock();
      tell(what);
      lock.lock();
    }
  }
}

void HandlerWatch::tell(const std::string& what) const noexcept {
  try {
    report_(what);
  } catch (...) {  // an error in a log callback must not end the process
  }
}

}  // namespace warren::inline v0::consumer
