#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <warren/channel.hpp>
#include <warren/connection_options.hpp>
#include <warren/export.hpp>
#include <warren/log.hpp>
#include <warren/uri.hpp>

namespace warren::inline v0 {

namespace engine {
class ConnectionCore;
class ConnectionAccess;
}

/// An AMQP connection with an I/O thread of its own, which keeps up heartbeats whatever the application does.
///
/// Any thread may call anything, the destructor excepted. Channels, publishers and consumers may outlive it:
/// what they do then throws ConnectionError. Calls on a moved-from Connection throw InvalidArgument.
///
/// A child of `fork` can't use what its parent opened: calls throw InvalidArgument there, destructors,
/// close() and stop() do nothing, and the parent's connection goes on. Let the child connect by itself.
///
/// A call that finds no memory throws std::bad_alloc. If a thread of the connection's finds none, the
/// connection is lost with the text `no memory`, and recovers as after any other loss. The constructor starts
/// all threads that the connection ever needs, but for one that resolves a host's name each time.
class WARREN_EXPORT Connection {
 public:
  /// Connects and logs in, trying each address of the host once. Blocks at most `connect_timeout`, or as long
  /// as ConnectionOptions::first_connect says.
  ///
  /// @param uri      see Uri::parse
  /// @param options  see ConnectionOptions; what the URI says too, the URI decides
  /// @throws InvalidArgument   the URI or an option can't be right
  /// @throws ConnectionError   no connection, or no thread or descriptor is left; permanent() for a wrong
  ///                           password, an unknown virtual host, a negotiated frame_max below 8192
  explicit Connection(std::string_view uri, ConnectionOptions options = {});
  /// The same, to an endpoint whose parts need no encoding.
  explicit Connection(Endpoint endpoint, ConnectionOptions options = {});
  /// Tries the endpoints in turn, each once; throws the last one's error.
  explicit Connection(std::vector<Endpoint> endpoints, ConnectionOptions options = {});
  /// Connects to one of several URIs: `Connection{{"amqp://a", "amqp://b"}, options}`. Tries them in turn,
  /// each once, and throws the last one's error. Blocks at most `connect_timeout` for each.
  ///
  /// @param uris     see Uri::parse. What they say of the connection (`heartbeat`, `connection_timeout`,
  ///                 `channel_max`) applies to it. URIs that say nothing of it agree with all others.
  /// @param options  see ConnectionOptions; if a URI has a parameter for the same setting, the URI wins
  /// @throws InvalidArgument  the list is empty, a URI or an option can't be right, or two URIs say different
  ///                          things of the connection
  /// @throws ConnectionError  no connection; see the constructor with one URI
  explicit Connection(const std::vector<std::string>& uris, ConnectionOptions options = {});
  /// Connects to one of several URIs, which are given as a list in braces. See the constructor with a vector
  /// of URIs for what applies and what is thrown.
  explicit Connection(std::initializer_list<UriText> uris, ConnectionOptions options = {});
  /// As close(). Never throws.
  ~Connection();
  Connection(Connection&&) noexcept;             ///< takes over; the other is moved-from
  Connection& operator=(Connection&&) noexcept;  ///< ends what it had, as the destructor; then likewise
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Opens a channel (AMQP `channel.open`). Blocks at most `operation_timeout`.
  /// @throws ConnectionError  the connection is closed
  /// @throws ChannelError     as many channels as negotiated are open
  /// @throws TimeoutError     no answer in time
  [[nodiscard]] Channel open_channel();

  /// Sends what was accepted and closes (AMQP `connection.close`). Blocks at most `close_timeout`, then cuts.
  /// Everybody who waits on this connection gets a ConnectionError. Never throws; a second call does nothing.
  void close() noexcept;

  /// What it does at the moment; by the next it may do something else. Never blocks, but for a lock.
  [[nodiscard]] ConnectionState state() const;
  /// Whether it is connected at the moment; while it is not, calls may wait for its return.
  [[nodiscard]] bool is_open() const { return state() == ConnectionState::open; }
  /// The broker's reason, while it blocks publishing on this connection
  /// (https://www.rabbitmq.com/docs/alarms), safe to print (see printable()).
  [[nodiscard]] std::optional<std::string> blocked() const;

 private:
  friend class ParkingLot;
  friend class Publisher;
  friend class Consumer;
  friend class engine::ConnectionAccess;
  struct Target;
  explicit Connection(Target target);
  std::shared_ptr<engine::ConnectionCore> core_;
};

}  // namespace warren::inline v0
