#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <warren/connection_options.hpp>
#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "engine/channel_core.hpp"
#include "engine/events.hpp"
#include "engine/outbox.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::engine {

/// A connection and its I/O thread, which alone reads, and owns the transport. Runs no user code.
class ConnectionCore : private DirectWriter {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;

  ConnectionCore(std::vector<Endpoint> endpoints, ConnectionOptions options);
  /// Cuts the connection where close() was not called. Not on the I/O thread.
  ~ConnectionCore() override;

  /// Tries each endpoint once, in turn; blocks at most `connect_timeout` for each. Once.
  /// @throws ConnectionError  the last endpoint's
  void open();
  /// Opens a channel with the lowest free number. @throws as ChannelCore::call, or where all numbers are
  /// taken
  std::shared_ptr<ChannelCore> open_channel(Deadline deadline, std::weak_ptr<ChannelSink> sink = {});
  /// Says connection.close and waits for the answer until the deadline, then cuts. Ends the I/O thread.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] ConnectionState state() const;
  /// The broker's reason, while it blocks this connection for a resource alarm.
  [[nodiscard]] std::optional<std::string> blocked() const;
  [[nodiscard]] bool is_blocked() const noexcept { return is_blocked_.load(std::memory_order_relaxed); }
  /// The error for a call that ran out of time here: BlockedError while the broker blocks, else TimeoutError.
  [[noreturn]] void raise_timeout(ErrorDetails details) const;

  [[nodiscard]] const ConnectionOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::vector<Endpoint>& endpoints() const noexcept { return endpoints_; }
  [[nodiscard]] Deadline operation_deadline() const { return Clock::now() + options_.operation_timeout; }
  [[nodiscard]] Outbox& outbox() noexcept { return outbox_; }
  [[nodiscard]] Events& events() noexcept { return events_; }
  [[nodiscard]] const wire::Negotiated& negotiated() const noexcept { return negotiated_; }

 private:
  struct Turn;

  std::size_t write(const char* data, std::size_t size) noexcept override;
  void connect();
  void run() noexcept;
  void loop();
  void write_pending(Turn& turn);
  void keep_alive(Turn& turn);
  void wait(Turn& turn);
  void read(Turn& turn);
  void hand_over(Turn& turn);
  void dispatch(Turn& turn, const wire::Frame& frame);
  void on_connection_method(const wire::InboundMethod& method);
  void on_blocked(std::optional<std::string> reason);
  void enter(ConnectionState state, const std::optional<ErrorDetails>& error = {});
  void end(const ErrorDetails& error, bool lost);
  [[noreturn]] void raise(const std::string& operation) const;

  const std::vector<Endpoint> endpoints_;
  const ConnectionOptions options_;
  Events events_;
  Outbox outbox_;
  wire::Negotiated negotiated_;
  std::unique_ptr<wire::Transport> transport_;  // the I/O thread's, and its end
  wire::MethodDecoder decoder_;                 // the I/O thread's

  mutable std::mutex mutex_;
  ConnectionState state_ = ConnectionState::connecting;
  std::optional<ErrorDetails> error_;
  std::optional<std::string> blocked_;
  std::atomic<bool> is_blocked_{false};
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels_;
  Deadline close_deadline_ = Deadline::max();

  std::mutex join_mutex_;  // several may close at once
  std::thread io_;
};

}  // namespace warren::inline v0::engine
