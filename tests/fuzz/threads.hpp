#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

#include "fuzz.hpp"

namespace fuzz {

/// Waits at its end until the process has no more threads than at its beginning. A stop leaves what does not
/// end in time to its thread: that thread must end soon, too, and the next input is not to meet it.
class NoThreadIsLeft {
 public:
  NoThreadIsLeft() : before_(count()) {}
  ~NoThreadIsLeft() {
    using namespace std::chrono_literals;
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (count() > before_) {
      expect(std::chrono::steady_clock::now() < deadline, "every thread ends");
      std::this_thread::sleep_for(1ms);
    }
  }
  NoThreadIsLeft(const NoThreadIsLeft&) = delete;
  NoThreadIsLeft& operator=(const NoThreadIsLeft&) = delete;

 private:
  [[nodiscard]] static std::size_t count() {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                                                  std::filesystem::directory_iterator()));
  }

  const std::size_t before_;
};

}  // namespace fuzz
