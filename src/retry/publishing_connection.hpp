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

/// The connection over which the consumers of one Connection send their copies.
///
/// It is a connection of its own. During an alarm the broker stops reading a connection that publishes, and
/// would not read the consumers' acknowledgements on it either.
///
/// The connection is opened when the first consumer needs it, and opened again if it was lost. It is closed
/// when no consumer uses it any more. Each consumer has a channel and a window of its own on it, so that
/// consumers do not wait for each other's confirms. Thread-safe.
class PublishingConnection {
 public:
  using Connect = std::function<Connection()>;
  using Stop = Opening<Connection>::Stop;

  /// @param connect  opens the connection; called on the threads that send, one at a time
  explicit PublishingConnection(Connect connect) : connect_(std::move(connect)) {}
  PublishingConnection(const PublishingConnection&) = delete;
  PublishingConnection& operator=(const PublishingConnection&) = delete;

  /// The object that all consumers of a connection share, for as long as one of them holds it.
  [[nodiscard]] static std::shared_ptr<PublishingConnection> of(
      const std::shared_ptr<engine::ConnectionCore>& connection);

  /// Begins a use of the connection. Between join() and leave() a user may call get(), and the connection is
  /// not closed.
  void join() noexcept;
  /// Ends a use of the connection. The last user's leave() closes it, which blocks at most `close_timeout`.
  void leave(std::chrono::milliseconds close_timeout) noexcept;
  /// The connection, which is opened if it is not open.
  /// @returns null if `stop` returned true first
  /// @throws std::runtime_error  the connection could not be opened
  [[nodiscard]] std::shared_ptr<Connection> get(const Stop& stop);
  /// Makes each thread that waits in get() call its `stop` again. Never blocks.
  void wake() noexcept { opening_.wake(); }

 private:
  const Connect connect_;
  Opening<Connection> opening_;
  std::mutex mutex_;  // locked before the lock of opening_
  std::size_t users_ = 0;
};

}  // namespace warren::inline v0::retry
