#pragma once

#include <string>
#include <vector>

#include "support/broker.hpp"

namespace faults {

/// A consumer in a process of its own, with a crash guard, whose handler ends the process over some messages.
struct CrashChild {
  std::string url{};
  std::string queue{};
  std::string parked{};
  std::string handled{};  ///< a file: a line for each message handled
  std::string started{};  ///< a file: a line for each start with a body that begins with `killer`

  /// Runs it until nothing is left to do: 0, or it died: its exit code, or the negative number of its signal.
  [[nodiscard]] int run() const;
};

/// The lines of a file; none where it does not exist.
std::vector<std::string> lines_of(const std::string& path);

}  // namespace faults
