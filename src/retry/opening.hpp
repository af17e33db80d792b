#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/no_memory.hpp"
#include "engine/one_opens.hpp"

namespace warren::inline v0::retry {

/// An object that many threads use, and that takes time to open. One thread opens it when it is needed, and
/// the others wait. If the object was lost, get() opens another one. Thread-safe.
template <typename T>
class Opening {
 public:
  using Stop = std::function<bool()>;

  /// Returns the object if it is open, or opens another one. One thread calls `open` at a time.
  /// @returns null if `stop` returned true first, if `open` returned null, or if close() was called
  /// @param is_open  whether an object is open; called with the lock held
  /// @param open     called with no lock held
  /// @param stop     called with no lock held, before each wait and after each wake(); must not throw
  /// @throws std::runtime_error  `open` threw on this thread, or on the thread that this one waited for
  template <typename IsOpen, typename Open>
  [[nodiscard]] std::shared_ptr<T> get(const IsOpen& is_open, const Open& open, const Stop& stop) {
    std::unique_lock lock(mutex_);
    while (opening_.is_running() && !closed_) {
      const std::uint64_t openings = opening_.ended();
      const std::uint64_t wakes = wakes_;
      lock.unlock();
      if (stop()) return nullptr;
      lock.lock();
      const auto changed = [&] { return opening_.ended() != openings || wakes_ != wakes; };
      opening_.wait(lock, engine::OneOpens::Clock::time_point::max(), changed);
      if (opening_.ended() != openings && !failure_.empty()) throw std::runtime_error(failure_);
    }
    if (closed_) return nullptr;
    if (object_ != nullptr && is_open(*object_)) return object_;
    return open_another(lock, open);
  }

  /// Makes each thread that waits in get() call its `stop` again. Never blocks.
  void wake() noexcept {
    const std::lock_guard lock(mutex_);
    ++wakes_;
    opening_.wake();
  }
  /// Takes the object, which may be null. The next get() opens another one.
  [[nodiscard]] std::shared_ptr<T> take() noexcept {
    const std::lock_guard lock(mutex_);
    return std::move(object_);
  }
  /// Takes the object, which may be null. From now on get() returns null.
  [[nodiscard]] std::shared_ptr<T> close() noexcept {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    ++wakes_;
    opening_.wake();
    return std::move(object_);
  }
  [[nodiscard]] bool is_closed() const noexcept {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  template <typename Open>
  std::shared_ptr<T> open_another(std::unique_lock<std::mutex>& lock, const Open& open) {
    std::string failure;
    std::shared_ptr<T> lost = std::move(object_);
    std::shared_ptr<T> object = opening_.run(lock, [&]() noexcept -> std::shared_ptr<T> {
      lost.reset();
      try {
        return open();
      } catch (const std::exception& error) {
        failure = engine::text_or_no_memory([&] { return error.what(); });
      } catch (...) {
        failure = engine::text_or_no_memory([] { return "the connection for copies can't be opened"; });
      }
      return nullptr;
    });
    failure_ = engine::text_or_no_memory([&] { return failure; });
    if (!failure.empty()) throw std::runtime_error(failure);
    if (closed_) {
      lock.unlock();  // the opened object is destroyed without the lock
      return nullptr;
    }
    object_ = object;
    return object;
  }

  mutable std::mutex mutex_;
  std::shared_ptr<T> object_;
  std::string failure_;  // why the latest opening failed, for threads that waited
  std::uint64_t wakes_ = 0;
  engine::OneOpens opening_;  // of object_
  bool closed_ = false;
};

}  // namespace warren::inline v0::retry
