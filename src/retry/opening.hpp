#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/no_memory.hpp"

namespace warren::inline v0::retry {

/// An object that many threads use, and that takes time to open. One of them opens it when it is needed, the
/// others wait. What was lost is opened again. Any thread.
template <typename T>
class Opening {
 public:
  using Stop = std::function<bool()>;

  /// Returns the object if `is_open` says so of it, else what `open` returns, which one thread calls at a
  /// time. Null if `stop` said so first, if `open` returned null, or if close() was called.
  /// @param is_open  called with the lock held
  /// @param open     called with no lock held
  /// @param stop     called with no lock held, before each wait and after each wake(); must not throw
  /// @throws std::runtime_error  `open` threw, on this thread or on the one that this one waited for
  template <typename IsOpen, typename Open>
  [[nodiscard]] std::shared_ptr<T> get(const IsOpen& is_open, const Open& open, const Stop& stop) {
    std::unique_lock lock(mutex_);
    while (opening_ && !closed_) {
      const std::uint64_t openings = openings_;
      const std::uint64_t wakes = wakes_;
      lock.unlock();
      if (stop()) return nullptr;
      lock.lock();
      changed_.wait(lock, [&] { return openings_ != openings || wakes_ != wakes; });
      if (openings_ != openings && !failure_.empty()) throw std::runtime_error(failure_);
    }
    if (closed_) return nullptr;
    if (object_ != nullptr && is_open(*object_)) return object_;
    opening_ = true;
    std::shared_ptr<T> lost = std::move(object_);
    lock.unlock();
    lost.reset();
    return opened(open);
  }

  /// Each thread that waits in get() asks its `stop` again. Never blocks.
  void wake() noexcept {
    const std::lock_guard lock(mutex_);
    ++wakes_;
    changed_.notify_all();
  }
  /// The object, if there is one. The next get() opens another one.
  [[nodiscard]] std::shared_ptr<T> take() noexcept {
    const std::lock_guard lock(mutex_);
    return std::move(object_);
  }
  /// As take(), and get() returns null from now on.
  [[nodiscard]] std::shared_ptr<T> close() noexcept {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    ++wakes_;
    changed_.notify_all();
    return std::move(object_);
  }
  [[nodiscard]] bool is_closed() const noexcept {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  template <typename Open>
  std::shared_ptr<T> opened(const Open& open) {
    std::shared_ptr<T> object;
    std::string failure;
    try {
      object = open();
    } catch (const std::exception& error) {
      failure = engine::text_or_no_memory([&] { return error.what(); });
    } catch (...) {
      failure = engine::text_or_no_memory([] { return "the connection for copies can't be opened"; });
    }
    {
      const std::lock_guard lock(mutex_);
      opening_ = false;
      ++openings_;
      failure_ = engine::text_or_no_memory([&] { return failure; });
      changed_.notify_all();
      if (failure.empty() && !closed_) {
        object_ = object;
        return object;
      }
    }
    if (!failure.empty()) throw std::runtime_error(failure);
    return nullptr;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<T> object_;
  std::string failure_;         // why the latest opening failed, for threads that waited; empty: it did not
  std::uint64_t openings_ = 0;  // that have ended
  std::uint64_t wakes_ = 0;
  bool opening_ = false;
  bool closed_ = false;
};

}  // namespace warren::inline v0::retry
