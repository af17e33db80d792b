#pragma once

#include <optional>

namespace warren::inline v0::wire {

/// An object of type T for each thread, kept after use so that its memory is used again. Each T supports one
/// use at a time in a thread.
///
/// The main thread's thread_locals are destroyed before its static objects, whose destructors may still
/// publish. From then on, each use has a T of its own.
template <typename T>
class Scratch {
 public:
  Scratch() : value_(gone_ ? &own_.emplace() : &kept()) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] T& operator*() noexcept { return *value_; }

 private:
  struct Kept {
    T value{};
    ~Kept() { gone_ = true; }
  };
  static T& kept() {
    thread_local Kept kept;
    return kept.value;
  }
  static inline thread_local constinit bool gone_ = false;  // no destructor: readable until the thread's end

  std::optional<T> own_;
  T* value_;
};

}  // namespace warren::inline v0::wire
