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

/// An AMQP connection. It has its own I/O thread, which sends heartbeats even while the application is busy.
///
/// All functions except the destructor are thread-safe. Channels, publishers and consumers may outlive the
/// connection; their calls then throw ConnectionError. Calls on a moved-from Connection throw LogicError,
/// except close(), which does nothing.
///
/// After `fork`, the child process can't use objects that its parent opened: calls throw LogicError, and
/// destructors, close() and stop() do nothing. The parent's connection stays open. The child must open its
/// own connection.
///
/// A call that finds no memory throws std::bad_alloc. If a thread of the connection finds no memory, the
/// connection is lost with the text `no memory`, and recovers as after any other loss. The constructor starts
/// the connection's threads. Two threads may start later. One resolves the host name for each connect. The
/// other one is the thread for events, if its first callback is set after the connect
/// (Confirmation::on_settled, ConsumerOptions::on_end).
class WARREN_EXPORT Connection {
 public:
  /// Connects to a broker and logs in. Tries each address of the host once.
  ///
  /// Blocks at most `connect_timeout`, or as long as ConnectionOptions::first_connect says.
  /// @param uri      see Uri::parse
  /// @param options  see ConnectionOptions; a parameter of the URI takes precedence over the same option
  /// @throws InvalidArgument   the URI or an option is invalid
  /// @throws ConnectionError   the connection failed, or the system has no thread or file descriptor left. A
  ///                           permanent error for a wrong password, an unknown virtual host, or a negotiated
  ///                           frame_max below 8192
  explicit Connection(std::string_view uri, ConnectionOptions options = {});
  /// Connects to an endpoint. Its parts need no percent-encoding. See the constructor with one URI for
  /// blocking and errors.
  explicit Connection(Endpoint endpoint, ConnectionOptions options = {});
  /// Connects to one of several endpoints. Tries each once, in their order. If all fail, throws the error of
  /// the last one. Blocks at most `connect_timeout` for each, or as long as ConnectionOptions::first_connect
  /// says.
  explicit Connection(std::vector<Endpoint> endpoints, ConnectionOptions options = {});
  /// Connects to one of several URIs: `Connection{{"amqp://a", "amqp://b"}, options}`. Tries each once, in
  /// their order. If all fail, throws the error of the last one.
  ///
  /// Blocks at most `connect_timeout` for each, or as long as ConnectionOptions::first_connect says.
  /// @param uris     see Uri::parse. The parameters `heartbeat`, `connection_timeout` and `channel_max` apply
  ///                 to the connection, whichever URI it uses. URIs without such a parameter agree with all
  ///                 others.
  /// @param options  see ConnectionOptions; a parameter of a URI takes precedence over the same option
  /// @throws InvalidArgument  the list is empty, a URI or an option is invalid, or two URIs have different
  ///                          values for one of these parameters
  /// @throws ConnectionError  the connection failed; see the constructor with one URI
  explicit Connection(const std::vector<std::string>& uris, ConnectionOptions options = {});
  /// Connects to one of several URIs, given as a list in braces. See the constructor with a vector of URIs
  /// for the rules and errors.
  explicit Connection(std::initializer_list<UriText> uris, ConnectionOptions options = {});
  /// Closes the connection like close(). Never throws.
  ~Connection();
  Connection(Connection&&) noexcept;  ///< takes over the other connection, which is then moved-from
  /// Closes its own connection like close(), then takes over the other one, which is then moved-from.
  Connection& operator=(Connection&&) noexcept;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Opens a channel (AMQP `channel.open`). Blocks at most ConnectionOptions::operation_timeout.
  /// @throws ConnectionError  the connection is closed
  /// @throws ChannelError     the negotiated maximum of open channels is reached
  /// @throws TimeoutError     the broker did not answer in time
  [[nodiscard]] Channel open_channel();

  /// Sends the data that was accepted for sending, and closes the connection (AMQP `connection.close`).
  ///
  /// Blocks at most ConnectionOptions::close_timeout, and then cuts the connection. All calls that wait on
  /// this connection throw ConnectionError. Never throws. A second call does nothing.
  void close() noexcept;

  /// The current state. It may change at any time. Blocks only on an internal lock.
  [[nodiscard]] ConnectionState state() const;
  /// Whether the connection is open at this moment. If it is not, calls may wait until it has recovered.
  [[nodiscard]] bool is_open() const { return state() == ConnectionState::open; }
  /// The broker's reason while it blocks publishing on this connection
  /// (https://www.rabbitmq.com/docs/alarms). The text is safe to print (see printable()). Not set if the
  /// connection is not blocked. Blocks only on an internal lock.
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
