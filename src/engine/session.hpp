#pragma once

#include <memory>
#include <string>
#include <utility>

#include "engine/channel_core.hpp"
#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {

/// A channel and the connection it needs to be alive: what a Channel, and the exchanges and queues declared
/// on it, share.
class Session {
 public:
  Session(std::shared_ptr<ConnectionCore> connection, std::shared_ptr<ChannelCore> channel) noexcept
      : connection_(std::move(connection)), channel_(std::move(channel)) {}

  [[nodiscard]] ConnectionCore& connection() const noexcept { return *connection_; }
  [[nodiscard]] ChannelCore& channel() const noexcept { return *channel_; }

  /// ChannelCore::call with the connection's deadline, and BlockedError where the broker blocks.
  template <typename Encode>
  Reply call(const std::string& operation, std::uint32_t expected, Encode&& encode,
             ChannelCore::LateDelivery late = ChannelCore::LateDelivery::keep) const {
    try {
      return channel_->call(operation, expected, connection_->operation_deadline(), encode, late);
    } catch (const TimeoutError& error) {
      connection_->raise_timeout(error.details());
    }
  }

 private:
  std::shared_ptr<ConnectionCore> connection_;
  std::shared_ptr<ChannelCore> channel_;
};

}  // namespace warren::inline v0::engine
