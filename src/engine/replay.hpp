#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <warren/connection_state.hpp>
#include <warren/log.hpp>

#include "engine/channel_core.hpp"
#include "engine/request.hpp"
#include "engine/topology.hpp"

namespace warren::inline v0::engine {

class ConnectionCore;

/// Declares recorded entities again, with many declarations in flight on one channel. When the broker refuses
/// a declaration, it closes that channel and ignores the declarations after it. Those are sent again on
/// another channel.
///
/// Must be used by one thread, which is not the I/O thread.
class Replay {
 public:
  explicit Replay(ConnectionCore& connection) : connection_(connection) {}
  /// Closes its channel, without waiting.
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// Declares all recorded entities, in this order: exchanges, queues, bindings. A queue that is locked (405)
  /// becomes pending, and its bindings wait for it.
  /// @throws ConnectionError, TimeoutError
  void declare_all();
  /// Runs one round over the pending queues `queues`, and stops after the first ones that are still locked. A
  /// queue is no longer pending if it was declared, with its bindings, or if it was refused permanently.
  /// @throws ConnectionError, TimeoutError
  void declare_pending(const std::vector<QueueRecord>& queues);

  /// The refused entities so far, in the order of the answers.
  [[nodiscard]] std::vector<NotRecovered>& refused() noexcept { return refused_; }

 private:
  struct Declaration {
    TopologyEntity entity = TopologyEntity::queue;
    std::size_t index = 0;  // of its record
    Request request{};
  };
  enum class Locked { set_pending, keep_pending };  // for a queue that another connection holds (405)
  using Answered = std::function<void(const Declaration&, const Reply&)>;
  /// Returning false ends the run: the remaining entities are not declared.
  using Refused = std::function<bool(const Declaration&, const ErrorDetails&)>;

  void run(const std::vector<Declaration>& all, const Answered& answered, const Refused& refused);
  void count_answer();
  void declare_exchanges(const std::vector<ExchangeRecord>& exchanges);
  void declare_queues(const std::vector<QueueRecord>& queues, Locked locked);
  void declare_bindings(const std::vector<BindingRecord>& bindings);
  void refuse(NotRecovered what);

  ConnectionCore& connection_;
  std::shared_ptr<ChannelCore> channel_;
  std::size_t window_ = 0;  // calls in flight; 0: not begun
  std::chrono::steady_clock::time_point started_at_{};
  std::chrono::steady_clock::time_point told_at_{};
  std::vector<std::string> declared_;  // by the latest round
  std::vector<NotRecovered> refused_;
};

}  // namespace warren::inline v0::engine
