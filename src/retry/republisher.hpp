#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <warren/connection.hpp>
#include <warren/log.hpp>
#include <warren/publisher.hpp>
#include <warren/retry_policy.hpp>

#include "engine/one_opens.hpp"
#include "retry/copy.hpp"

namespace warren::inline v0::retry {

/// Sends copies, and says so only once the broker has taken them: the caller may then acknowledge the
/// original.
///
/// Has a connection of its own, for publishing: while an alarm is on, the broker stops reading a connection
/// that publishes, its acknowledgements included. Opened when first needed, and anew where it was lost. Any
/// thread.
class Republisher {
 public:
  using Connect = std::function<Connection()>;
  using Log = std::function<void(LogLevel, const std::string&)>;
  using Stop = std::function<bool()>;
  using Resolve = std::function<std::string(const std::string&)>;

  /// @param connect  opens the publishing connection; called on the threads that send, one at a time
  /// @param queue    the consumer's, from which copies are made
  /// @param log      called on the threads that send; what it throws is dropped
  /// @param resolve  the name that a queue has now, of one that it once had: a queue that the broker named
  /// has
  ///                 another name after each recovery. Called on the threads that send; empty: as it is
  Republisher(Connect connect, RetryPolicy policy, std::string queue, Log log, Resolve resolve = {});
  /// As close(). Nobody may be in send().
  ~Republisher();
  Republisher(const Republisher&) = delete;
  Republisher& operator=(const Republisher&) = delete;

  /// Publishes the copy, mandatory and persistent, and returns true once it is confirmed. Whatever goes wrong
  /// is logged and tried again, after a pause of 100 ms that doubles up to 5 s: a message is never dropped.
  /// What was returned for want of a queue is sent again once the policy's queues are declared anew. A copy
  /// whose headers do not fit one frame is made smaller (see shrink()), which is logged, and is parked if
  /// nothing else helps: `copy` then says so.
  ///
  /// Blocks until then, or until `stop` says so; then false, and the original must be left unacknowledged,
  /// though the copy may have arrived. A confirm under way is given two more seconds, for a stop is no reason
  /// for a duplicate; connecting and declaring end by their own deadlines.
  /// @param stop  called on this thread with no lock held; must not throw
  [[nodiscard]] bool send(Copy& copy, const Stop& stop);
  [[nodiscard]] bool send(Copy&& copy, const Stop& stop) { return send(copy, stop); }

  /// Everybody who pauses in send() asks its `stop` again. Never blocks.
  void wake() noexcept;
  /// Closes the connection until the next send(). Nobody may be in send(). Blocks at most its
  /// `close_timeout`.
  void disconnect() noexcept;
  /// Ends every send() with false, and closes the connection. Blocks at most its `close_timeout`.
  void close() noexcept;

 private:
  struct Link;
  struct Notice;
  [[nodiscard]] std::shared_ptr<Link> link(const Stop& stop);
  [[nodiscard]] std::shared_ptr<Link> open_link(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] bool publish(Link& link, Copy& copy, const Stop& stop, Notice& notice) const;
  [[nodiscard]] bool publish_once(Link& link, Copy& copy, const Stop& stop, Notice& notice) const;
  [[nodiscard]] bool publish_bare(Link& link, Copy& copy, const std::string& queue, const Stop& stop) const;
  void declare_again(Connection& connection) const;
  [[nodiscard]] std::string resolve(const std::string& queue) const;
  [[nodiscard]] bool await(const Link& link, Confirmation& confirmation, const Copy& copy, const Stop& stop,
                           Notice& notice) const;
  [[nodiscard]] bool pause(std::chrono::milliseconds delay, const Stop& stop);
  [[nodiscard]] bool is_closed() const;
  void tell(Notice& notice, const Copy& copy, const std::string& fault) const;
  void log(LogLevel level, const std::string& text) const noexcept;

  const Connect connect_;
  const RetryPolicy policy_;
  const std::string queue_;
  const Log log_;
  const Resolve resolve_;

  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::shared_ptr<Link> link_;
  std::string failure_;  // why the latest opening failed, for those who waited for it; empty: it did not
  std::uint64_t wakes_ = 0;
  engine::OneOpens opening_;  // of link_
  bool closed_ = false;
};

}  // namespace warren::inline v0::retry
