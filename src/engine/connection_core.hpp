#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include <warren/connection_options.hpp>
#include <warren/error.hpp>
#include <warren/uri.hpp>

#include "engine/backoff.hpp"
#include "engine/channel_core.hpp"
#include "engine/deadline.hpp"
#include "engine/events.hpp"
#include "engine/outbox.hpp"
#include "engine/system.hpp"
#include "engine/topology.hpp"
#include "wire/transport.hpp"

namespace warren::inline v0::engine {

[[nodiscard]] wire::LoginOptions login(const ConnectionOptions& options);

/// An object that the connection restores after a loss. By then its channel is gone.
class Recoverable {
 public:
  virtual ~Recoverable() = default;
  /// Called on the I/O thread: the connection is lost and will be recovered. The channel's on_closed()
  /// follows.
  virtual void lost() noexcept {}
  /// Called on the recovery thread, once the topology is declared again. May block until the deadline.
  /// @throws Error  ConnectionError if the connection was lost again: the next recovery tries again
  virtual void recover(std::chrono::steady_clock::time_point deadline) = 0;
  /// The connection ended and will not be recovered.
  virtual void abandon(const ErrorDetails& error) noexcept = 0;
  /// Another publisher's trial is over (see ConnectionCore::begin_trial). Any thread.
  virtual void on_trial_over() {}
};

/// A connection and its I/O thread. Only the I/O thread reads, and it owns the transport. It runs no user
/// code.
///
/// When the connection is lost, its channels fail permanently: each is one generation. The I/O thread
/// connects again. Then the recovery thread declares the topology and lets publishers send their unconfirmed
/// messages again. After that the connection is open.
class ConnectionCore : public Ticker, private DirectWriter {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;

  ConnectionCore(std::vector<Endpoint> endpoints, ConnectionOptions options);
  /// Cuts the connection if close() was not called. Must not run on the I/O thread.
  ~ConnectionCore() override;

  /// Tries each endpoint in turn, once or until the deadline of ConnectionOptions::first_connect. Blocks at
  /// most `connect_timeout` for each attempt. Must be called only once.
  /// @throws ConnectionError  the error of the last endpoint; transient if a stop was requested
  void open();
  /// Which callers may open a channel: everybody once the connection is open; recovery as soon as it is
  /// connected.
  enum class Access { everybody, recovery };
  /// Opens a channel with the lowest free number. If all numbers are taken and a channel is closing, it waits
  /// for that number until the deadline.
  /// @throws ChannelError  all numbers are taken and no channel is closing
  /// @throws ChannelError, ConnectionError, TimeoutError  for the reasons that ChannelCore::call() has
  std::shared_ptr<ChannelCore> open_channel(Deadline deadline, std::weak_ptr<ChannelSink> sink = {},
                                            Access access = Access::everybody);
  /// Opens a channel in confirm mode without waiting for the answers, so the I/O thread may call it. Null if
  /// no number is free, or the connection is lost.
  std::shared_ptr<ChannelCore> start_channel(std::weak_ptr<ChannelSink> sink);
  /// Blocks until the connection is open, for example until recovery is over. Returns earlier if `stop`
  /// returns true (see notify()).
  /// @throws ConnectionError  the connection is closed, failed, or not open by the deadline
  void await_open(const std::string& operation, Deadline deadline, const std::function<bool()>& stop = {});
  /// Runs `attempt`. If the connection was lost before anything was sent, it waits for the recovery and runs
  /// `attempt` again. A TimeoutError becomes a BlockedError if the broker blocks the connection.
  template <typename Attempt>
  std::invoke_result_t<Attempt&> unless_lost(Deadline deadline, Attempt&& attempt) {
    for (;;) {
      try {
        return attempt();
      } catch (const ConnectionError& error) {
        if (error.in_doubt()) throw;
        check_not_ended(error.operation());
        if (Clock::now() >= deadline) throw;
        std::this_thread::yield();  // the I/O thread is about to report the loss
      } catch (const BlockedError&) {
        throw;
      } catch (const TimeoutError& error) {
        raise_timeout(error.details());
      }
    }
  }
  /// Whether a recorded queue is still declared again in the background, because another connection holds it.
  [[nodiscard]] bool queue_is_pending(std::string_view queue) const { return topology_.is_pending(queue); }
  /// Blocks until queue_is_pending() is false, `stop` returns true (see notify()), or the connection is no
  /// longer open. Must not run on the I/O thread.
  void await_queue(const std::string& queue, const std::function<bool()>& stop);
  /// The recovery's progress: how many declarations it has begun, and how many of them are answered. 0 means
  /// none.
  struct Progress {
    std::size_t done = 0;
    std::size_t total = 0;
  };
  void expect_declarations(std::size_t total);
  Progress count_declaration();
  /// Makes every thread in await_open() and await_queue() ask its `stop` again.
  void notify();
  /// Whether a lost connection is being recovered. Set before its channels fail.
  [[nodiscard]] bool is_recovering() const;
  /// Whether the connection is closing, closed or failed, so that it will not be open again.
  [[nodiscard]] bool has_ended() const;
  /// Cuts a connection on which the broker does not answer, so that it is recovered. Any thread.
  void drop(std::string_view reason) noexcept;
  void add(std::weak_ptr<Recoverable> recoverable);
  /// Begins the trial of a publisher. When the broker closes the connection over a message, several
  /// publishers may have had messages in flight. One publisher at a time sends its own again, so that the
  /// cause can be found. True if it is `who`'s turn, which lasts until end_trial(). May be called with a
  /// publisher's lock held.
  [[nodiscard]] bool begin_trial(const void* who);
  /// Ends the trial, so that other publishers get their turn. Must be called with no publisher's lock held.
  void end_trial(const void* who);
  /// Why the connection is not open; nullopt while it is open.
  [[nodiscard]] std::optional<ErrorDetails> why_not_open() const noexcept;
  /// Sends connection.close, waits for the answer until the deadline, then cuts the connection and ends the
  /// I/O thread. Does nothing in a child of fork().
  void close(Deadline deadline) noexcept;

  [[nodiscard]] ConnectionState state() const;
  /// The broker's reason while it blocks this connection because of a resource alarm.
  [[nodiscard]] std::optional<std::string> blocked() const;
  [[nodiscard]] bool is_blocked() const noexcept { return is_blocked_.load(std::memory_order_relaxed); }
  /// Throws the error for a call that timed out: BlockedError while the broker blocks the connection, else
  /// TimeoutError.
  [[noreturn]] void raise_timeout(ErrorDetails details) const;

  bool request_tick(std::shared_ptr<ChannelCore> channel) noexcept override;

  /// An object that the consumers of this connection share, of a type that higher layers define. Returns the
  /// object that one of them holds, else the result of `make`. The connection itself does not keep it alive.
  /// Any thread; `make` must not block.
  [[nodiscard]] std::shared_ptr<void> shared(const std::function<std::shared_ptr<void>()>& make);

  /// The process that made the connection.
  [[nodiscard]] const OwnProcess& process() const noexcept { return process_; }
  [[nodiscard]] const ConnectionOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::vector<Endpoint>& endpoints() const noexcept { return endpoints_; }
  [[nodiscard]] Deadline operation_deadline(Deadline from = std::chrono::steady_clock::now()) const {
    return deadline_after(options_.operation_timeout, from);
  }
  [[nodiscard]] Outbox& outbox() noexcept { return outbox_; }
  [[nodiscard]] Events& events() noexcept { return events_; }
  [[nodiscard]] Topology& topology() noexcept { return topology_; }
  /// The values negotiated for the present connection, or for the latest one.
  [[nodiscard]] wire::Negotiated negotiated() const;

 private:
  struct Turn;

  void connected(std::unique_ptr<wire::Transport> transport, const Endpoint& endpoint);
  [[nodiscard]] std::vector<std::shared_ptr<ChannelCore>> open_channels() const;
  [[nodiscard]] std::uint32_t free_number() const;
  using Recoverables = std::shared_ptr<const std::vector<std::weak_ptr<Recoverable>>>;  // never null
  [[nodiscard]] Recoverables recoverables() const noexcept;
  void start_threads();
  bool enter(ConnectionState state, const ErrorDetails* error = nullptr) noexcept;
  void fail_channels(const ErrorDetails& error) noexcept;
  void end(const ErrorDetails* error) noexcept;
  [[noreturn]] void raise(const std::string& operation) const;
  /// @throws ConnectionError  the cause, if the connection has ended. A closed outbox does not tell the
  /// cause.
  void check_not_ended(const std::string& operation) const;

  // io_loop.cpp
  std::size_t write(std::span<const std::string_view> chunks) noexcept override;
  void run() noexcept;
  std::optional<ErrorDetails> run_until_lost() noexcept;
  void loop();
  void write_pending(Turn& turn);
  void check_answers();
  void keep_alive(Turn& turn);
  void wait(Turn& turn);
  void read(Turn& turn);
  void hand_over(Turn& turn);
  bool is_late(Turn& turn, const wire::Frame& frame);
  void dispatch(Turn& turn, const wire::Frame& frame);
  void on_connection_method(const wire::InboundMethod& method);
  void on_blocked(std::optional<std::string> reason);

  // first_connect.cpp
  struct FirstConnect;
  void connect_first();
  [[nodiscard]] bool try_each_endpoint(FirstConnect& first);

  // recovery.cpp
  bool lose(ErrorDetails& error) noexcept;
  bool begin_outage(ErrorDetails& error) noexcept;
  std::optional<ErrorDetails> reconnect(ErrorDetails last) noexcept;
  struct Attempts;
  bool connect_again(const Endpoint& endpoint, Attempts& attempts);
  bool pause(std::chrono::milliseconds delay, const std::function<bool()>& given_up);
  std::unique_ptr<wire::Transport> attempt(const Endpoint& endpoint, wire::LoginOptions options,
                                           const std::function<bool()>& given_up);
  void recover_loop() noexcept;
  bool restore(std::vector<NotRecovered>& missing) noexcept;
  void recover(Recoverable& recoverable);
  void declare_pending() noexcept;
  [[nodiscard]] std::string progress() const;

  const OwnProcess process_;
  const std::vector<Endpoint> endpoints_;
  const ConnectionOptions options_;
  Events events_;
  Outbox outbox_;
  Topology topology_;
  std::unique_ptr<wire::Transport> transport_;  // used by the I/O thread, also at its end
  wire::Negotiated current_;                    // of transport_; used by the I/O thread
  wire::MethodDecoder decoder_;                 // used by the I/O thread
  Backoff backoff_;                             // used by the I/O thread
  std::size_t next_endpoint_ = 0;               // used by the I/O thread: the endpoint to try next

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  wire::Negotiated negotiated_;
  bool connected_ = false;
  bool recovering_ = false;
  bool reconnected_ = false;  // for the recovery thread
  bool ended_ = false;        // for the recovery thread
  std::optional<std::string> drop_reason_;
  std::uint64_t generation_ = 0;  // the number of the connection; each loss adds one
  Progress progress_;
  Recoverables recoverables_;    // replaced, never changed: a reader needs no memory
  const void* trial_ = nullptr;  // the publisher that is on trial
  ConnectionState state_ = ConnectionState::connecting;
  std::optional<ErrorDetails> error_;  // why it is not open; set before the state that it explains
  std::optional<std::string> blocked_;
  std::atomic<bool> is_blocked_{false};
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels_;
  std::vector<std::shared_ptr<ChannelCore>> tick_requests_;
  std::atomic<bool> tick_requested_{false};
  Deadline close_deadline_ = Deadline::max();

  std::mutex shared_mutex_;
  std::weak_ptr<void> shared_;

  std::mutex join_mutex_;  // several threads may close at once
  std::thread io_;
  std::thread recovery_;          // if recovery is enabled
  std::size_t pending_turn_ = 0;  // used by the recovery thread: the pending queue to ask for first
};

}  // namespace warren::inline v0::engine
