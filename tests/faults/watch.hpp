#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include <warren/connection_options.hpp>

#include "support/broker.hpp"

namespace faults {

/// As support::test_options(), with the recovery that those turn off.
inline warren::ConnectionOptions recovering_options() {
  warren::ConnectionOptions options = support::test_options();
  options.recovery.enabled = true;
  return options;
}

/// What a connection's callbacks were told, and when. Must outlive the connection.
class Watch {
 public:
  using Clock = std::chrono::steady_clock;

  /// `options` of a connection that tells this.
  warren::ConnectionOptions options(warren::ConnectionOptions base = recovering_options()) {
    base.log_level = warren::LogLevel::debug;
    base.on_state = [this](const warren::StateEvent& event) {
      const std::lock_guard lock(mutex_);
      states_.push_back({Clock::now(), event});
    };
    base.on_log = [this](const warren::LogEvent& event) {
      const std::lock_guard lock(mutex_);
      logs_.push_back({Clock::now(), event});
    };
    return base;
  }

  [[nodiscard]] std::vector<warren::ConnectionState> states() const {
    const std::lock_guard lock(mutex_);
    std::vector<warren::ConnectionState> states;
    for (const auto& each : states_) states.push_back(each.event.state);
    return states;
  }
  /// How often a state was entered.
  [[nodiscard]] std::size_t count(warren::ConnectionState state) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(
        states_.begin(), states_.end(), [&](const auto& each) { return each.event.state == state; }));
  }
  /// When a state was entered last.
  [[nodiscard]] Clock::time_point time_of_last(warren::ConnectionState state) const {
    const std::lock_guard lock(mutex_);
    Clock::time_point time{};
    for (const auto& each : states_) {
      if (each.event.state == state) time = each.time;
    }
    return time;
  }
  /// The error that the latest event brought along.
  [[nodiscard]] warren::ErrorDetails last_error() const {
    const std::lock_guard lock(mutex_);
    warren::ErrorDetails error;
    for (const auto& each : states_) error = each.event.error.value_or(error);
    return error;
  }
  /// What recoveries told that they could not declare again, all events together.
  [[nodiscard]] std::vector<warren::NotRecovered> not_recovered() const {
    const std::lock_guard lock(mutex_);
    std::vector<warren::NotRecovered> all;
    for (const auto& each : states_) {
      all.insert(all.end(), each.event.not_recovered.begin(), each.event.not_recovered.end());
    }
    return all;
  }
  /// Why the connection was lost, the latest time.
  [[nodiscard]] warren::ErrorDetails loss() const {
    const std::lock_guard lock(mutex_);
    warren::ErrorDetails error;
    bool was_open = false;
    for (const auto& each : states_) {
      if (was_open) error = each.event.error.value_or(error);
      was_open = each.event.state == warren::ConnectionState::open;
    }
    return error;
  }
  /// Waits until the connection was open so many times.
  [[nodiscard]] bool opened(std::size_t times,
                            std::chrono::milliseconds within = std::chrono::seconds(30)) const {
    return support::eventually([&] { return count(warren::ConnectionState::open) >= times; }, within);
  }
  /// Lines of a level, or worse; log() for people: all of them, with their times.
  [[nodiscard]] std::vector<std::string> lines(warren::LogLevel level) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const Line& each : logs_) {
      if (each.event.level >= level) lines.push_back(each.event.text);
    }
    return lines;
  }
  [[nodiscard]] std::string log() const {
    const std::lock_guard lock(mutex_);
    std::string text;
    for (const Line& each : logs_) {
      const auto since =
          std::chrono::duration_cast<std::chrono::milliseconds>(each.time - logs_.front().time);
      text += std::to_string(since.count()) + " ms " + warren::to_string(each.event.level) + ": " +
              each.event.text + '\n';
    }
    return text;
  }

 private:
  struct Entry {
    Clock::time_point time;
    warren::StateEvent event;
  };

  struct Line {
    Clock::time_point time;
    warren::LogEvent event;
  };

  mutable std::mutex mutex_;
  std::vector<Entry> states_;
  std::vector<Line> logs_;
};

/// Bodies that a handler saw, in their order. Any thread.
class Bodies {
 public:
  void add(std::string_view body) {
    const std::lock_guard lock(mutex_);
    bodies_.emplace_back(body);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return bodies_.size();
  }
  [[nodiscard]] std::size_t count(std::string_view body) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count(bodies_.begin(), bodies_.end(), body));
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> bodies_;
};

}  // namespace faults
