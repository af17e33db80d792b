#include "retry/publishing_connection.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "client/connection_access.hpp"
#include "engine/connection_core.hpp"
#include "engine/deadline.hpp"

namespace warren::inline v0::retry {
namespace {

// Opens a connection with the options of the consumers' connection and a name of its own. It logs nothing,
// because the consumer whose copy fails logs that. A lost connection loses no message, because a copy counts
// only when it is confirmed.
Connection open_beside(const engine::ConnectionCore& connection) {
  ConnectionOptions options = connection.options();
  options.name = options.name.empty() ? "retry" : options.name + " (retry)";
  options.on_log = nullptr;
  options.log_level = LogLevel::none;
  options.on_state = nullptr;
  options.first_connect = {};        // each endpoint is tried once
  options.recovery.enabled = false;  // a sending thread opens another connection
  // The message may have been published with larger frames than the consumer's, and its copy needs them, too.
  options.frame_max = std::max(options.frame_max, std::uint32_t{131'072});
  return Connection(connection.endpoints(), std::move(options));
}

}  // namespace

std::shared_ptr<PublishingConnection> PublishingConnection::of(
    const std::shared_ptr<engine::ConnectionCore>& connection) {
  return std::static_pointer_cast<PublishingConnection>(connection->shared([&]() -> std::shared_ptr<void> {
    return std::make_shared<PublishingConnection>([connection] { return open_beside(*connection); });
  }));
}

void PublishingConnection::join() noexcept {
  const std::lock_guard lock(mutex_);
  ++users_;
}

void PublishingConnection::leave(std::chrono::milliseconds close_timeout) noexcept {
  std::shared_ptr<Connection> unused;
  {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0) return;
    unused = opening_.take();
  }
  if (unused != nullptr)
    engine::ConnectionAccess::core(*unused)->close(engine::deadline_after(close_timeout));
}

std::shared_ptr<Connection> PublishingConnection::get(const Stop& stop) {
  return opening_.get([](const Connection& connection) { return connection.is_open(); },
                      [this] { return std::make_shared<Connection>(connect_()); }, stop);
}

}  // namespace warren::inline v0::retry
