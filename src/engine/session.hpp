#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "engine/channel_core.hpp"
#include "engine/connection_core.hpp"
#include "engine/one_opens.hpp"
#include "engine/request.hpp"

namespace warren::inline v0::engine {

/// A channel and its connection, which the session keeps alive. There are two kinds.
///
/// A Channel has a session of its own. If its channel is lost with the connection, the next call opens
/// another one. If the broker or the program closes the channel, it stays closed.
///
/// A Queue or an Exchange shares a session with its copies. While the channel that declared it is open, its
/// calls use that channel. Later they use a channel of the session's own, which the first such call opens and
/// the session closes at its end. If the broker closes that channel, the next call opens another one.
class Session {
 public:
  Session(std::shared_ptr<ConnectionCore> connection, std::shared_ptr<ChannelCore> channel) noexcept
      : connection_(std::move(connection)), channel_(std::move(channel)) {}
  /// The session of a Queue or an Exchange. `declarer` is the session of the Channel that declared it.
  explicit Session(std::shared_ptr<Session> declarer) noexcept
      : connection_(declarer->connection_), declarer_(std::move(declarer)) {}
  /// Closes a channel of its own, without waiting.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] ConnectionCore& connection() const noexcept { return *connection_; }
  [[nodiscard]] const OwnProcess& process() const noexcept { return connection_->process(); }
  /// The current channel, in any state. Null if a Queue's or an Exchange's session has not opened its own
  /// yet.
  [[nodiscard]] std::shared_ptr<ChannelCore> channel() const;
  /// The channel to use. If the current one is unusable and may be replaced, it waits until the connection is
  /// open, and opens another one.
  /// @throws ConnectionError, ChannelError, TimeoutError
  [[nodiscard]] std::shared_ptr<ChannelCore> channel_for(const std::string& operation,
                                                         ChannelCore::Deadline deadline);
  void set_prefetch(std::uint16_t count);
  /// Ends the session: its channel is not replaced any more. Returns the channel.
  std::shared_ptr<ChannelCore> end();

  /// Sends the request that `make` returns and waits for the answer, at most the connection's
  /// `operation_timeout`. `make` is called before each attempt, since a recovery may have renamed
  /// server-named queues.
  /// @throws ChannelError, ConnectionError, TimeoutError, InvalidArgument
  /// @throws BlockedError  the time ran out while the broker blocked the connection
  Reply call(const std::function<Request()>& make);

 private:
  /// Whether a call can still succeed, over this channel or over its replacement.
  [[nodiscard]] bool is_usable() const;
  [[nodiscard]] bool needs_another() const;
  /// After a 404 closed the channel: removes the missing queue from the record, so that recovery does not
  /// declare it.
  void forget_gone(const ChannelCore& channel);
  [[nodiscard]] std::shared_ptr<ChannelCore> open_channel(ChannelCore::Deadline deadline,
                                                          std::optional<std::uint16_t> prefetch);

  const std::shared_ptr<ConnectionCore> connection_;
  const std::shared_ptr<Session> declarer_;  // null: this is a Channel's
  mutable std::mutex mutex_;
  OneOpens opening_;  // of a replacement channel
  std::shared_ptr<ChannelCore> channel_;
  std::optional<std::uint16_t> prefetch_;
  bool ended_ = false;
};

}  // namespace warren::inline v0::engine
