#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>

#include <warren/connection.hpp>

#include "retry/opening.hpp"

namespace warren::inline v0::engine {
class ConnectionCore;
}

namespace warren::inline v0::retry {

/// The connection over which the consumers of one Connection send their copies. While an alarm is on, the
/// broker stops reading a connection that publishes, its acknowledgements included, so it is another one than
/// theirs.
///
/// It is opened when the first of them needs it, opened again if it was lost, and closed once none of them
/// uses it any more. Each has a channel and a window of its own on it, so that one that the broker keeps
/// waiting does not hold up the others. Any thread.
class PublishingConnection {
 public:
  using Connect = std::function<Connection()>;
  using Stop = Opening<Connection>::Stop;

  /// @param connect  opens the connection; called on the threads that send, one at a time
  explicit PublishingConnection(Connect connect) : connect_(std::move(connect)) {}
  PublishingConnection(const PublishingConnection&) = delete;
  PublishingConnection& operator=(const PublishingConnection&) = delete;

  /// The one of all consumers of a connection, for as long as one of them holds it.
  [[nodiscard]] static std::shared_ptr<PublishingConnection> of(
      const std::shared_ptr<engine::ConnectionCore>& connection);

  /// From join() to leave() a user may call get(), and keeps the connection open.
  void join() noexcept;
  /// The last user's leave() closes the connection, which blocks at most `close_timeout`.
  void leave(std::chrono::milliseconds close_timeout) noexcept;
  /// The connection, opened if it is not open; null if `stop` said so first. Throws as Opening::get().
  [[nodiscard]] std::shared_ptr<Connection> get(const Stop& stop);
  /// Each thread that waits in get() asks its `stop` again. Never blocks.
  void wake() noexcept { opening_.wake(); }

 private:
  const Connect connect_;
  Opening<Connection> opening_;
  std::mutex mutex_;  // before the opening's
  std::size_t users_ = 0;
};

}  // namespace warren::inline v0::retry
