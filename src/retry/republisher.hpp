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

/// Sends copies, and reports success only when the broker has confirmed them. Then the caller may acknowledge
/// the original.
///
/// It has a Publisher of its own, on a PublishingConnection that it may share with others. Both are opened
/// when they are needed, and opened again if they were lost. Thread-safe.
class Republisher {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;
  using Stop = std::function<bool()>;
  using Resolve = std::function<std::string(const std::string&)>;

  /// @param connection     the connection for publishing
  /// @param close_timeout  how long closing the connection may block, if no other sender uses it
  /// @param policy   the policy whose queues are declared again if they are missing
  /// @param queue    the consumer's queue, from which copies are made
  /// @param log      called on the threads that send; an exception that it throws is dropped
  /// @param resolve  returns the current name of a queue for an earlier one, because a queue that the broker
  ///                 named has another name after each recovery. Called on the threads that send. Empty means
  ///                 that names never change
  Republisher(std::shared_ptr<PublishingConnection> connection, std::chrono::milliseconds close_timeout,
              RetryPolicy policy, std::string queue, Log log, Resolve resolve = {});
  /// Calls close(), then disconnect(). No thread may be in send().
  ~Republisher();
  Republisher(const Republisher&) = delete;
  Republisher& operator=(const Republisher&) = delete;

  /// Publishes the copy, mandatory and persistent, and returns true when it is confirmed.
  ///
  /// Every error is logged, and the copy is sent again after a pause of 100 ms that doubles up to 5 s. A
  /// message is never dropped. If the copy is unroutable, the policy's queues are declared again before it is
  /// sent again. If its headers do not fit into one frame, the copy is made smaller (see shrink()), which is
  /// logged. As the last resort it is parked, and `copy` says so.
  ///
  /// Blocks until the copy is confirmed or `stop` returns true. A pending confirm is awaited for two more
  /// seconds, because giving up early could make a duplicate. Connecting and declaring end by their own
  /// deadlines.
  /// @param stop  called on this thread with no lock held; must not throw
  /// @returns false if `stop` returned true first. Leave the original unacknowledged then. The copy may have
  ///          arrived nevertheless
  [[nodiscard]] bool send(Copy& copy, const Stop& stop);
  [[nodiscard]] bool send(Copy&& copy, const Stop& stop) { return send(copy, stop); }

  /// Makes each thread that pauses in send() call its `stop` again. Never blocks.
  void wake() noexcept;
  /// Gives up the connection until the next send(). If no other sender uses the connection, it is closed,
  /// which blocks at most `close_timeout`. No thread may be in send().
  void disconnect() noexcept;
  /// Makes every send() return false: at once if it pauses, within 200 ms if it waits for a confirm. Never
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
  bool joined_ = false;  // whether join() was called on the connection
};

}  // namespace warren::inline v0::retry
