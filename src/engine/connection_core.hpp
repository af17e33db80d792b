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

/// What comes back by itself after the connection was lost. Its channel is gone by then.
class Recoverable {
 public:
  virtual ~Recoverable() = default;
  /// On the I/O thread: the connection is lost, and will be recovered. Its channel's end follows.
  virtual void lost() noexcept {}
  /// On the recovery thread, once the topology is there again; may block until the deadline.
  /// @throws Error  ConnectionError where the connection was lost again: the next one is tried
  virtual void recover(std::chrono::steady_clock::time_point deadline) = 0;
  /// The connection will not come back.
  virtual void abandon(const ErrorDetails& error) noexcept = 0;
  /// Another one's trial is over (see ConnectionCore::begin_trial). Any thread.
  virtual void on_trial_over() {}
};

/// A connection and its I/O thread, which alone reads, and owns the transport. Runs no user code.
///
/// Where it is lost, its channels fail, for good: each is one generation. The I/O thread connects again; then
/// the recovery thread declares the topology and lets publishers send again what is unconfirmed; then it is
/// open.
class ConnectionCore : public Ticker, private DirectWriter {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;

  ConnectionCore(std::vector<Endpoint> endpoints, ConnectionOptions options);
  /// Cuts the connection where close() was not called. Not on the I/O thread.
  ~ConnectionCore() override;

  /// Tries each endpoint in turn, once or until ConnectionOptions::first_connect's deadline; blocks at most
  /// `connect_timeout` for each. To be called once.
  /// @throws ConnectionError  the last endpoint's; not permanent if a stop was requested
  void open();
  /// Who may open a channel: everybody once it is open, recovery as soon as it is connected.
  enum class Access { everybody, recovery };
  /// Opens a channel with the lowest free number. Where all are taken and one is being closed, it waits for
  /// that one until the deadline.
  /// @throws as ChannelCore::call; ChannelError if all numbers are taken and none is being closed
  std::shared_ptr<ChannelCore> open_channel(Deadline deadline, std::weak_ptr<ChannelSink> sink = {},
                                            Access access = Access::everybody);
  /// The same without waiting for the answers, so that the I/O thread may call it, in confirm mode.
  /// Null where no number is free, or the connection is lost.
  std::shared_ptr<ChannelCore> start_channel(std::weak_ptr<ChannelSink> sink);
  /// Returns once it is open: at once, or after recovery. With `stop`, also once that says so (see notify()).
  /// @throws ConnectionError  it is closed, failed, or not open by the deadline
  void await_open(const std::string& operation, Deadline deadline, const std::function<bool()>& stop = {});
  /// Runs `attempt`, and again where the connection was lost ahead of its sending anything, so that it waits
  /// for the recovery instead. A TimeoutError becomes a BlockedError where the broker blocks.
  template <typename Attempt>
  std::invoke_result_t<Attempt&> unless_lost(Deadline deadline, Attempt&& attempt) {
    for (;;) {
      try {
        return attempt();
      } catch (const ConnectionError& error) {
        if (error.in_doubt()) throw;
        check_not_ended(error.operation());
        if (Clock::now() >= deadline) throw;
        std::this_thread::yield();  // the I/O thread is about to say that it is lost
      } catch (const BlockedError&) {
        throw;
      } catch (const TimeoutError& error) {
        raise_timeout(error.details());
      }
    }
  }
  /// Whether a recorded queue is still to be declared again in the background, since another connection holds
  /// it.
  [[nodiscard]] bool queue_is_pending(std::string_view queue) const { return topology_.is_pending(queue); }
  /// Returns once queue_is_pending() is false, or `stop` says so (see notify()), or the connection is not
  /// open any more. Not on the I/O thread.
  void await_queue(const std::string& queue, const std::function<bool()>& stop);
  /// The recovery: so many declarations begin, of which so many are answered; 0: none.
  struct Progress {
    std::size_t done = 0;
    std::size_t total = 0;
  };
  void expect_declarations(std::size_t total);
  Progress count_declaration();
  /// Everybody in await_open() and await_queue() asks its `stop` again.
  void notify();
  /// Whether a lost connection is being recovered. Set before its channels fail.
  [[nodiscard]] bool is_recovering() const;
  /// Whether it is closing, closed or failed: it will not be open again.
  [[nodiscard]] bool has_ended() const;
  /// Cuts a link on which the broker doesn't answer, so that it is recovered. Any thread.
  void drop(std::string_view reason) noexcept;
  void add(std::weak_ptr<Recoverable> recoverable);
  /// Where the broker closes the connection over a message, several publishers may have had one in flight.
  /// One of them at a time sends its own again, so that it can tell. True where that is `who`, until its
  /// end_trial(). May be called with a publisher's lock held.
  [[nodiscard]] bool begin_trial(const void* who);
  /// Lets the others have their turn. With no publisher's lock held.
  void end_trial(const void* who);
  /// Why it is not open, while it is not.
  [[nodiscard]] std::optional<ErrorDetails> why_not_open() const noexcept;
  /// Says connection.close and waits for the answer until the deadline, then cuts. Ends the I/O thread. Does
  /// nothing in a child of fork().
  void close(Deadline deadline) noexcept;

  [[nodiscard]] ConnectionState state() const;
  /// The broker's reason, while it blocks this connection for a resource alarm.
  [[nodiscard]] std::optional<std::string> blocked() const;
  [[nodiscard]] bool is_blocked() const noexcept { return is_blocked_.load(std::memory_order_relaxed); }
  /// The error for a call that ran out of time here: BlockedError while the broker blocks, else TimeoutError.
  [[noreturn]] void raise_timeout(ErrorDetails details) const;

  bool request_tick(std::shared_ptr<ChannelCore> channel) noexcept override;

  /// What consumers share over this connection, in a room above: what one of them holds, else what `make`
  /// returns. Nothing is kept here once nobody holds it. Any thread; `make` must not block.
  [[nodiscard]] std::shared_ptr<void> shared(const std::function<std::shared_ptr<void>()>& make);

  /// The one that made it.
  [[nodiscard]] const OwnProcess& process() const noexcept { return process_; }
  [[nodiscard]] const ConnectionOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::vector<Endpoint>& endpoints() const noexcept { return endpoints_; }
  [[nodiscard]] Deadline operation_deadline(Deadline from = std::chrono::steady_clock::now()) const {
    return deadline_after(options_.operation_timeout, from);
  }
  [[nodiscard]] Outbox& outbox() noexcept { return outbox_; }
  [[nodiscard]] Events& events() noexcept { return events_; }
  [[nodiscard]] Topology& topology() noexcept { return topology_; }
  /// Of the present connection, or the latest one.
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
  /// @throws ConnectionError  the cause, where it has ended: who met the closed outbox was told none
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
  std::unique_ptr<wire::Transport> transport_;  // the I/O thread's, and its end
  wire::Negotiated current_;                    // the I/O thread's, of transport_
  wire::MethodDecoder decoder_;                 // the I/O thread's
  Backoff backoff_;                             // the I/O thread's
  std::size_t next_endpoint_ = 0;               // the I/O thread's: whose turn it is to be tried

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  wire::Negotiated negotiated_;
  bool connected_ = false;
  bool recovering_ = false;
  bool reconnected_ = false;  // for the recovery thread
  bool ended_ = false;        // likewise
  std::optional<std::string> drop_reason_;
  std::uint64_t generation_ = 0;  // of connections: one more with each loss
  Progress progress_;
  Recoverables recoverables_;    // replaced rather than changed: who looks at it needs no memory
  const void* trial_ = nullptr;  // whose it is
  ConnectionState state_ = ConnectionState::connecting;
  std::optional<ErrorDetails> error_;  // why it is not open; set ahead of the state that it explains
  std::optional<std::string> blocked_;
  std::atomic<bool> is_blocked_{false};
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels_;
  std::vector<std::shared_ptr<ChannelCore>> tick_requests_;
  std::atomic<bool> tick_requested_{false};
  Deadline close_deadline_ = Deadline::max();

  std::mutex shared_mutex_;
  std::weak_ptr<void> shared_;

  std::mutex join_mutex_;  // several may close at once
  std::thread io_;
  std::thread recovery_;          // if recovery is enabled
  std::size_t pending_turn_ = 0;  // the recovery thread's: which pending queue is asked for first
};

}  // namespace warren::inline v0::engine
