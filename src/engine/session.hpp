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

/// A channel and the connection it needs to be alive. There are two kinds.
///
/// A Channel has one. If its channel is lost with the connection, the next call opens another one. If the
/// broker closes it, or the program, it stays closed.
///
/// A Queue or an Exchange shares one with its copies. Its calls go over the channel that declared it while
/// that is open. Later they go over a channel of its own, which the first such call opens, and which is
/// closed with the session. If the broker closes that channel, the next call opens another one.
class Session {
 public:
  Session(std::shared_ptr<ConnectionCore> connection, std::shared_ptr<ChannelCore> channel) noexcept
      : connection_(std::move(connection)), channel_(std::move(channel)) {}
  /// The session of what was declared through `declarer`, which is a Channel's.
  explicit Session(std::shared_ptr<Session> declarer) noexcept
      : connection_(declarer->connection_), declarer_(std::move(declarer)) {}
  /// Closes a channel of its own, without waiting.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] ConnectionCore& connection() const noexcept { return *connection_; }
  [[nodiscard]] const OwnProcess& process() const noexcept { return connection_->process(); }
  /// The channel of this moment, whatever became of it; null before a session of the second kind opens one.
  [[nodiscard]] std::shared_ptr<ChannelCore> channel() const;
  /// The channel to use: another one, once the connection is open again, if this one can't be used and may be
  /// replaced.
  /// @throws ConnectionError, ChannelError, TimeoutError
  [[nodiscard]] std::shared_ptr<ChannelCore> channel_for(const std::string& operation,
                                                         ChannelCore::Deadline deadline);
  void set_prefetch(std::uint16_t count);
  /// No other channel takes the place of this one any more.
  std::shared_ptr<ChannelCore> end();

  /// Sends what `make` makes and waits for the answer, with the connection's deadline; BlockedError where the
  /// broker blocks. `make` is called again ahead of each try: a recovery may have given queues other names.
  /// @throws ChannelError, ConnectionError, TimeoutError, InvalidArgument
  Reply call(const std::function<Request()>& make);

 private:
  /// Whether a call can still succeed here: over this channel, or over the one that takes its place.
  [[nodiscard]] bool is_usable() const;
  [[nodiscard]] bool needs_another() const;
  /// Of a 404 that closed it: a queue that is gone is not declared again by a recovery.
  void forget_gone(const ChannelCore& channel);
  [[nodiscard]] std::shared_ptr<ChannelCore> open_channel(ChannelCore::Deadline deadline,
                                                          std::optional<std::uint16_t> prefetch);

  const std::shared_ptr<ConnectionCore> connection_;
  const std::shared_ptr<Session> declarer_;  // null: this is a Channel's
  mutable std::mutex mutex_;
  OneOpens opening_;  // of another channel
  std::shared_ptr<ChannelCore> channel_;
  std::optional<std::uint16_t> prefetch_;
  bool ended_ = false;
};

}  // namespace warren::inline v0::engine
