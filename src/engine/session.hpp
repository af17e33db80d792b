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

/// A channel and the connection it needs to be alive: what a Channel, and the exchanges and queues declared
/// on it, share. Where the channel was lost with its connection, the next call opens another one; what the
/// broker closed stays closed.
class Session {
 public:
  Session(std::shared_ptr<ConnectionCore> connection, std::shared_ptr<ChannelCore> channel) noexcept
      : connection_(std::move(connection)), channel_(std::move(channel)) {}

  [[nodiscard]] ConnectionCore& connection() const noexcept { return *connection_; }
  [[nodiscard]] const OwnProcess& process() const noexcept { return connection_->process(); }
  /// The channel of this moment, whatever became of it.
  [[nodiscard]] std::shared_ptr<ChannelCore> channel() const;
  /// The channel to use: another one where it was lost with its connection, once that is open again.
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
  /// Of a 404 that closed it: a queue that is gone is not declared again by a recovery.
  void forget_gone(const ChannelCore& channel);
  [[nodiscard]] std::shared_ptr<ChannelCore> open_channel(ChannelCore::Deadline deadline,
                                                          std::optional<std::uint16_t> prefetch);

  const std::shared_ptr<ConnectionCore> connection_;
  mutable std::mutex mutex_;
  OneOpens opening_;  // of another channel
  std::shared_ptr<ChannelCore> channel_;
  std::optional<std::uint16_t> prefetch_;
  bool ended_ = false;
};

}  // namespace warren::inline v0::engine
