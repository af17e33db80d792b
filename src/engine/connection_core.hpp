#pragma once

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

#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "engine/channel_core.hpp"
#include "engine/outbox.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::engine {

struct CoreOptions {
  std::vector<Endpoint> endpoints{};
  wire::LoginOptions login{};
  std::size_t outbox_bytes = std::size_t{1} << 20;
};

/// A connection and its I/O thread, which alone reads, and owns the transport. Runs no user code.
class ConnectionCore : private DirectWriter {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;
  enum class State { connecting, open, closing, closed };

  explicit ConnectionCore(CoreOptions options);
  /// Cuts the connection where close() was not called. Bounded.
  ~ConnectionCore() override;

  /// Tries each endpoint once, in turn; blocks at most the login's timeout for each.
  /// @throws ConnectionError  the last endpoint's
  void open();
  /// Opens a channel with the lowest free number. @throws as ChannelCore::call, or where all numbers are taken
  std::shared_ptr<ChannelCore> open_channel(Deadline deadline);
  /// Closes a channel; what it still had to settle must have been appended before.
  void close_channel(ChannelCore& channel, Deadline deadline);
  /// Says connection.close and waits for the answer until the deadline, then cuts. Ends the I/O thread.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] State state() const;
  /// The broker's reason, while it blocks this connection for a resource alarm.
  [[nodiscard]] std::optional<std::string> blocked() const;
  [[nodiscard]] Outbox& outbox() noexcept { return outbox_; }
  [[nodiscard]] const wire::Negotiated& negotiated() const noexcept { return transport_->negotiated(); }

 private:
  struct Turn;

  std::size_t write(const char* data, std::size_t size) noexcept override;
  void run() noexcept;
  void loop();
  bool write_pending(Turn& turn);
  void wait(Turn& turn);
  void read(Turn& turn);
  void dispatch(const wire::Frame& frame);
  void on_connection_method(const wire::InboundMethod& method);
  void end(const ErrorDetails& error);
  [[noreturn]] void raise(const std::string& operation) const;

  const CoreOptions options_;
  Outbox outbox_;
  std::unique_ptr<wire::Transport> transport_;
  wire::MethodDecoder decoder_;  // the I/O thread's

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::connecting;
  std::optional<ErrorDetails> error_;
  std::optional<std::string> blocked_;
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels_;
  Deadline close_deadline_ = Deadline::max();
  std::thread io_;
};

}  // namespace warren::inline v0::engine
