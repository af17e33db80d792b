#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <warren/error.hpp>
#include <warren/publisher.hpp>

namespace faults {

/// What became of each message: who published it learned how that ended, and handlers saw it or not. Any
/// thread.
class Ledger {
 public:
  using Clock = std::chrono::steady_clock;

  struct Totals {
    std::size_t published = 0;  ///< calls to publish
    std::size_t confirmed = 0;
    std::size_t nacked = 0;    ///< the broker took no responsibility; some arrive all the same
    std::size_t in_doubt = 0;  ///< failed, and may have arrived
    std::size_t not_sent = 0;  ///< failed, and can't have arrived
    std::size_t open = 0;      ///< without an outcome
    std::size_t twice = 0;     ///< with more than one
    std::size_t lost = 0;      ///< confirmed, and never handled
    std::size_t conjured = 0;  ///< handled, although not sent
    std::size_t handled = 0;   ///< distinct messages
    std::size_t duplicates = 0;
    std::chrono::milliseconds longest_publish{0};
  };

  /// Takes the memory for so many messages at once, so that later ones need no more.
  void reserve(std::size_t messages);
  /// A new message: its number, which is its body.
  std::uint64_t begin();
  void confirmed(std::uint64_t number, Clock::time_point since);
  void failed(std::uint64_t number, Clock::time_point since, const warren::Error& error);
  /// What a handler got. False where that is no message of ours.
  bool handled(std::string_view body);

  [[nodiscard]] Totals totals() const;
  /// Calls to publish so far: totals() looks at each message.
  [[nodiscard]] std::size_t published() const;
  /// Confirmed messages that no handler has seen yet.
  [[nodiscard]] std::size_t missing() const;
  /// How often publishes failed with each error.
  [[nodiscard]] std::map<std::string, std::size_t> failures() const;

 private:
  enum class End : std::uint8_t { open, confirmed, nacked, in_doubt, not_sent };
  struct Entry {
    End end = End::open;
    std::uint8_t ends = 0;
    std::uint32_t handled = 0;
  };
  void end(std::uint64_t number, Clock::time_point since, End end);

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::map<std::string, std::size_t> failures_;
  std::chrono::milliseconds longest_{0};
  std::size_t missing_ = 0;
};

}  // namespace faults
