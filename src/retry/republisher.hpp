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

#include "retry/copy.hpp"
#include "retry/opening.hpp"
#include "retry/publishing_connection.hpp"

namespace warren::inline v0::retry {

/// Sends copies, and says so only once the broker has taken them: the caller may then acknowledge the
/// original.
///
/// Publishes over a PublishingConnection, which it may share with others, with a Publisher of its own. Both
/// are opened when they are needed, and opened again if they were lost. Any thread.
class Republisher {
 public:
  using Connect = PublishingConnection::Connect;
  using Log = std::function<void(LogLevel, const std::string&)>;
  using Stop = std::function<bool()>;
  using Resolve = std::function<std::string(const std::string&)>;

  /// @param connection     for publishing
  /// @param close_timeout  how long closing the connection may block, if no other sender uses it
  /// @param queue    the consumer's, from which copies are made
  /// @param log      called on the threads that send; what it throws is dropped
  /// @param resolve  the name that a queue has now, of one that it once had: a queue that the broker named
  ///                 has another name after each recovery. Called on the threads that send; empty: as it is
  Republisher(std::shared_ptr<PublishingConnection> connection, std::chrono::milliseconds close_timeout,
              RetryPolicy policy, std::string queue, Log log, Resolve resolve = {});
  /// With a connection that it shares with nobody, closed within 2 s.
  Republisher(Connect connect, RetryPolicy policy, std::string queue, Log log, Resolve resolve = {});
  /// As close(), then disconnect(). Nobody may be in send().
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
  /// Uses the connection no more until the next send(). If nobody else uses it, it is closed, which blocks at
  /// most `close_timeout`. Nobody may be in send().
  void disconnect() noexcept;
  /// Ends every send() with false: at once if it pauses, within 200 ms if it waits for a confirm. Never
  /// blocks.
  void close() noexcept;

 private:
  struct Link;
  struct Notice;
  [[nodiscard]] std::shared_ptr<Link> link(const Stop& stop);
  [[nodiscard]] std::shared_ptr<Link> open_link(const Stop& stop);
  [[nodiscard]] bool publish(Link& link, Copy& copy, const Stop& stop, Notice& notice) const;
  [[nodiscard]] bool publish_once(Link& link, Copy& copy, const Stop& stop, Notice& notice) const;
  [[nodiscard]] bool publish_bare(Link& link, Copy& copy, const std::string& queue, const Stop& stop) const;
  [[nodiscard]] bool is_over(const Stop& stop) const { return opening_.is_closed() || stop(); }
  void declare_again(Connection& connection) const;
  [[nodiscard]] std::string resolve(const std::string& queue) const;
  [[nodiscard]] bool await(const Link& link, Confirmation& confirmation, const Copy& copy, const Stop& stop,
                           Notice& notice) const;
  [[nodiscard]] bool pause(std::chrono::milliseconds delay, const Stop& stop);
  void tell(Notice& notice, const Copy& copy, const std::string& fault) const;
  void log(LogLevel level, const std::string& text) const noexcept;

  const std::shared_ptr<PublishingConnection> connection_;
  const std::chrono::milliseconds close_timeout_;
  const RetryPolicy policy_;
  const std::string queue_;
  const Log log_;
  const Resolve resolve_;

  Opening<Link> opening_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t wakes_ = 0;
  bool joined_ = false;  // the connection
};

}  // namespace warren::inline v0::retry
