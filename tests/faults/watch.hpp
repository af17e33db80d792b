#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include <warren/connection_options.hpp>

#include "support/broker.hpp"

namespace faults {

/// What a connection's callbacks were told, and when. Must outlive the connection.
class Watch {
 public:
  using Clock = std::chrono::steady_clock;

  /// `options` of a connection that tells this.
  warren::ConnectionOptions options(warren::ConnectionOptions base = support::test_options()) {
    base.log_level = warren::LogLevel::debug;
    base.on_state = [this](const warren::StateEvent& event) {
      const std::lock_guard lock(mutex_);
      states_.push_back({Clock::now(), event});
    };
    base.on_log = [this](const warren::LogEvent& event) {
      const std::lock_guard lock(mutex_);
      logs_.push_back(event);
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
    return static_cast<std::size_t>(
        std::count_if(states_.begin(), states_.end(), [&](const auto& each) { return each.event.state == state; }));
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
  /// Waits until the connection was open so many times.
  [[nodiscard]] bool opened(std::size_t times, std::chrono::milliseconds within = std::chrono::seconds(30)) const {
    return support::eventually([&] { return count(warren::ConnectionState::open) >= times; }, within);
  }
  /// Lines of a level, or worse.
  [[nodiscard]] std::vector<std::string> lines(warren::LogLevel level) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const warren::LogEvent& each : logs_) {
      if (each.level >= level) lines.push_back(each.text);
    }
    return lines;
  }
  [[nodiscard]] std::string log() const {
    std::string text;
    for (const std::string& line : lines(warren::LogLevel::debug)) text += line + '\n';
    return text;
  }

 private:
  struct Entry {
    Clock::time_point time;
    warren::StateEvent event;
  };

  mutable std::mutex mutex_;
  std::vector<Entry> states_;
  std::vector<warren::LogEvent> logs_;
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
