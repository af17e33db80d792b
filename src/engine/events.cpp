#include "engine/events.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include <warren/printable.hpp>

#include "engine/system.hpp"

namespace warren::inline v0::engine {
namespace {

// The broker's words and a publisher's come here as they are.
void make_printable(std::string& text) {
  if (!is_printable(text)) text = printable(text);
}

constexpr std::size_t most_queued = 1'024;
constexpr std::chrono::milliseconds grace{100};  // for what is queued, where the time for closing is used up

}  // namespace

// Owned by its thread, too, so that a callback that never returns keeps what it stands on.
struct Events::Shared {
  LogLevel level = LogLevel::info;
  LogCallback on_log;
  StateCallback on_state;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Event> queue;
  std::thread thread;
  bool closed = false;
  bool finished = false;

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return closed || !queue.empty(); });
      if (queue.empty()) break;
      {
        const auto event = std::move(queue.front());
        queue.pop_front();
        lock.unlock();
        tell(event);
      }  // a callback is destroyed without the lock
      lock.lock();
    }
    finished = true;
    changed.notify_all();
  }

  void tell(const Event& event) noexcept {
    try {
      if (const auto* log = std::get_if<LogEvent>(&event)) {
        on_log(*log);
      } else if (const auto* state = std::get_if<StateEvent>(&event)) {
        on_state(*state);
      } else {
        std::get<std::function<void()>>(event)();
      }
    } catch (...) {  // nobody is there to tell
    }
  }
};

Events::Events(LogLevel level, LogCallback on_log, StateCallback on_state)
    : shared_(std::make_shared<Shared>()) {
  shared_->level = level;
  shared_->on_log = std::move(on_log);
  shared_->on_state = std::move(on_state);
}

Events::~Events() {
  close(std::chrono::steady_clock::now());
  const std::lock_guard lock(shared_->mutex);
  if (shared_->thread.joinable()) shared_->thread.detach();  // destroyed by a callback
}

bool Events::wants(LogLevel level) const noexcept { return shared_->on_log && level >= shared_->level; }

void Events::log(LogLevel level, std::string text) {
  if (!wants(level)) return;
  make_printable(text);
  push(LogEvent{level, std::move(text)});
}

void Events::state(StateEvent event) {
  if (!shared_->on_state) return;
  const auto escape = [](ErrorDetails& error) {
    make_printable(error.operation);
    make_printable(error.text);
  };
  if (event.blocked) make_printable(*event.blocked);
  if (event.error) escape(*event.error);
  for (NotRecovered& each : event.not_recovered) escape(each.error);
  push(std::move(event));
}

void Events::call(std::function<void()> callback) { push(std::move(callback)); }

bool Events::is_own_thread() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->thread.get_id() == std::this_thread::get_id();
}

void Events::push(Event event) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->closed) return;
  if (shared_->queue.size() >= most_queued) {
    const auto oldest = std::ranges::find_if(shared_->queue, [](const Event& each) {
      return !std::holds_alternative<std::function<void()>>(each);
    });
    if (oldest != shared_->queue.end()) shared_->queue.erase(oldest);
  }
  shared_->queue.push_back(std::move(event));
  if (!shared_->thread.joinable()) {
    try {
      shared_->thread = start_thread("warren-events", [shared = shared_] { shared->run(); });
    } catch (const Error&) {
      return;  // no thread is left: the next event tries again
    }
  }
  shared_->changed.notify_all();
}

void Events::close(std::chrono::steady_clock::time_point deadline) noexcept {
  std::unique_lock lock(shared_->mutex);
  shared_->closed = true;
  shared_->changed.notify_all();
  if (!shared_->thread.joinable()) return;
  if (shared_->thread.get_id() == std::this_thread::get_id())
    return;  // from a callback, which can't await its end
  deadline = std::max(deadline, std::chrono::steady_clock::now() + grace);
  shared_->changed.wait_until(lock, deadline, [&] { return shared_->finished; });
  // No callback begins after this: what it refers to may be gone. One that runs can't be ended from outside.
  shared_->queue.clear();
  std::thread thread = std::move(shared_->thread);
  const bool finished = shared_->finished;
  lock.unlock();
  if (!thread.joinable()) return;  // another one, closing at the same time, was first
  if (finished) {
    thread.join();
  } else {
    thread.detach();
  }
}

}  // namespace warren::inline v0::engine
