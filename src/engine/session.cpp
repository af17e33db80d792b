#include "engine/session.hpp"

namespace warren::inline v0::engine {
namespace {

void send_prefetch(ChannelCore& channel, std::uint16_t count, ChannelCore::Deadline deadline) {
  channel.call("basic.qos", wire::id::basic_qos_ok, deadline,
               [&](Bytes& out, std::uint16_t number) { wire::basic_qos(out, number, count); });
}

}  // namespace

std::shared_ptr<ChannelCore> Session::channel() const {
  const std::lock_guard lock(mutex_);
  return channel_;
}

std::shared_ptr<ChannelCore> Session::channel_for(const std::string& operation,
                                                  ChannelCore::Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || !channel_->is_lost()) return channel_;
  }
  connection_->await_open(operation, deadline);
  const std::lock_guard lock(mutex_);
  if (ended_ || !channel_->is_lost()) return channel_;
  auto channel = connection_->open_channel(deadline);
  if (prefetch_) send_prefetch(*channel, *prefetch_, deadline);
  channel_ = std::move(channel);
  return channel_;
}

void Session::set_prefetch(std::uint16_t count) {
  const auto deadline = connection_->operation_deadline();
  connection_->unless_lost(deadline,
                           [&] { send_prefetch(*channel_for("basic.qos", deadline), count, deadline); });
  const std::lock_guard lock(mutex_);
  prefetch_ = count;
}

std::shared_ptr<ChannelCore> Session::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  return channel_;
}

}  // namespace warren::inline v0::engine
