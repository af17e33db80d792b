#include "engine/events.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include "engine/no_memory.hpp"
#include "engine/system.hpp"
#include "values/printable.hpp"

namespace warren::inline v0::engine {
namespace {

// Escapes the texts, since they may contain the broker's or a publisher's words.
ErrorDetails to_print(const ErrorDetails& error) noexcept {
  ErrorDetails details = kept(error);
  try {
    make_printable(details);
  } catch (...) {
    details.operation.clear();
    details.text = no_memory;
  }
  return details;
}

// Prints log events if the program has no callback. Standard error is not buffered, so a line is usually one
// write.
void print(const LogEvent& event) {
  const std::string line = std::string("warren: ") + to_string(event.level) + ": " + event.text + '\n';
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
}

constexpr std::size_t most_queued = 1'024;
constexpr std::size_t kept_room = 16;            // events that can be queued without memory
constexpr std::chrono::milliseconds grace{100};  // to deliver queued events after the closing deadline

}  // namespace

// The events' thread owns it too, so a callback that never returns keeps its data valid.
struct Events::Shared {
  LogLevel level = LogLevel::info;
  LogCallback on_log;
  StateCallback on_state;

  std::mutex mutex;
  std::condition_variable changed;
  std::list<Event> queue;
  std::list<Event> room = std::list<Event>(kept_room);  // for events that must be delivered without memory
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> timers;
  std::thread thread;
  bool closed = false;
  bool finished = false;

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      if (!closed && (queue.empty() || is_due())) {
        run_timers(lock);
        continue;
      }
      if (queue.empty()) break;
      {
        const auto event = std::move(queue.front());
        leave(queue.begin());
        lock.unlock();
        tell(event);
      }  // callbacks are destroyed without the lock
      lock.lock();
    }
    finished = true;
    changed.notify_all();
  }

  [[nodiscard]] bool is_due() const {
    return !timers.empty() && timers.begin()->first <= std::chrono::steady_clock::now();
  }

  // Calls the first timer if its time has passed. Otherwise sleeps until then, or until something changes.
  void run_timers(std::unique_lock<std::mutex>& lock) noexcept {
    if (timers.empty()) return changed.wait(lock);
    if (const auto first = timers.begin()->first; first > std::chrono::steady_clock::now()) {
      changed.wait_until(lock, first);
      return;
    }
    auto due = timers.extract(timers.begin());
    lock.unlock();
    try {
      due.mapped()();
    } catch (...) {  // no caller could receive the error
    }
    due = {};
    lock.lock();
  }

  // Called with the lock held. The event was moved from, or must not be delivered.
  void leave(std::list<Event>::iterator event) noexcept {
    if (room.size() < kept_room) {
      room.splice(room.end(), queue, event);
    } else {
      queue.erase(event);
    }
  }

  // Drops the oldest event that is not a call; called with the lock held. False if there is none.
  bool drop_oldest() noexcept {
    const auto oldest = std::ranges::find_if(
        queue, [](const Event& each) { return !std::holds_alternative<std::function<void()>>(each); });
    if (oldest == queue.end()) return false;
    leave(oldest);
    return true;
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
    } catch (...) {  // no caller could receive the error
    }
  }
};

Events::Events(LogLevel level, LogCallback on_log, StateCallback on_state)
    : shared_(std::make_shared<Shared>()) {
  shared_->level = on_log ? level : std::max(level, LogLevel::warning);
  shared_->on_log = on_log ? std::move(on_log) : print;
  shared_->on_state = std::move(on_state);
}

Events::~Events() {
  close(std::chrono::steady_clock::now());
  const std::lock_guard lock(shared_->mutex);
  if (shared_->thread.joinable()) shared_->thread.detach();  // destroyed by a callback
}

bool Events::wants(LogLevel level) const noexcept { return level >= shared_->level; }

void Events::start() {
  const std::lock_guard lock(shared_->mutex);
  if (!shared_->closed) start_locked();
}

void Events::start_locked() {
  if (shared_->thread.joinable()) return;
  shared_->thread = start_thread("warren-events", [shared = shared_] { shared->run(); });
}

void Events::log(LogLevel level, std::string text) noexcept {
  if (!wants(level)) return;
  try {
    make_printable(text);
  } catch (...) {  // no memory for a line
    return;
  }
  push(LogEvent{level, std::move(text)});
}

void Events::state(ConnectionState state, const std::optional<std::string>& blocked,
                   const ErrorDetails* error, std::vector<NotRecovered> not_recovered) noexcept {
  if (!shared_->on_state) return;
  StateEvent event{.state = state, .blocked = {}, .error = {}, .not_recovered = std::move(not_recovered)};
  if (blocked) event.blocked = text_or_no_memory([&] { return printable(*blocked); });
  if (error != nullptr) event.error = to_print(*error);
  for (NotRecovered& each : event.not_recovered) each.error = to_print(each.error);
  push(std::move(event));
}

bool Events::call(std::function<void()> callback) noexcept { return push(std::move(callback)); }

void Events::call_at(std::chrono::steady_clock::time_point when, std::function<void()> callback) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->closed) return;
  start_locked();
  shared_->timers.emplace(when, std::move(callback));
  shared_->changed.notify_all();
}

bool Events::is_own_thread() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->thread.get_id() == std::this_thread::get_id();
}

bool Events::push(Event event) noexcept {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->closed) return false;
  if (shared_->queue.size() >= most_queued) shared_->drop_oldest();
  std::list<Event>& room = shared_->room;
  // A log line must not use the reserved room, which is for events that must be delivered.
  const bool may_use_room = !std::holds_alternative<LogEvent>(event);
  try {
    if (room.size() < kept_room || !may_use_room) room.emplace_back();
  } catch (...) {
    if (!may_use_room || (room.empty() && !shared_->drop_oldest())) return false;
  }
  room.back() = std::move(event);
  shared_->queue.splice(shared_->queue.end(), room, std::prev(room.end()));
  shared_->changed.notify_all();
  try {
    start_locked();
  } catch (...) {  // no thread is left: the next event tries again
  }
  return true;
}

void Events::close(std::chrono::steady_clock::time_point deadline) noexcept {
  std::unique_lock lock(shared_->mutex);
  shared_->closed = true;
  shared_->changed.notify_all();
  if (!shared_->thread.joinable()) return;
  if (shared_->thread.get_id() == std::this_thread::get_id())
    return;  // called from a callback, which cannot wait for its own end
  deadline = std::max(deadline, std::chrono::steady_clock::now() + grace);
  shared_->changed.wait_until(lock, deadline, [&] { return shared_->finished; });
  // No callback starts after this: objects that it refers to may be gone. A running callback cannot be
  // stopped.
  const auto untold =
      std::exchange(shared_->queue, {});  // destroyed without the lock, since the callbacks' objects may log
  const auto timers = std::exchange(shared_->timers, {});
  std::thread thread = std::move(shared_->thread);
  const bool finished = shared_->finished;
  lock.unlock();
  if (!thread.joinable()) return;  // another thread closes this object too, and was first
  if (finished) {
    thread.join();
  } else {
    thread.detach();
  }
}

}  // namespace warren::inline v0::engine
