#include "engine/session.hpp"

#include <warren/reply_code.hpp>

#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {

Session::~Session() {
  if (declarer_ && channel_) channel_->begin_close();
}

bool Session::is_usable() const {
  const std::lock_guard lock(mutex_);
  return !ended_ && (channel_->is_open() || channel_->is_lost());
}

// Called with the lock held.
bool Session::needs_another() const {
  if (declarer_) return !channel_ || !channel_->is_open();
  return channel_->is_lost();
}

std::shared_ptr<ChannelCore> Session::channel() const {
  const std::lock_guard lock(mutex_);
  return channel_;
}

std::shared_ptr<ChannelCore> Session::channel_for(const std::string& operation,
                                                  ChannelCore::Deadline deadline) {
  if (declarer_ && declarer_->is_usable()) {
    try {
      return declarer_->channel_for(operation, deadline);
    } catch (const ChannelError&) {  // the program closed the channel meanwhile
      if (declarer_->is_usable()) throw;
    }
  }
  std::unique_lock lock(mutex_);
  while (needs_another()) {
    if (ended_) {
      throw ChannelError(
          {.operation = operation, .text = "the channel is closed", .scope = ErrorScope::channel});
    }
    if (opening_.is_running()) {
      if (opening_.wait(lock, deadline, [&] { return ended_; })) continue;
      throw TimeoutError({.operation = operation, .text = "no channel before the deadline"});
    }
    if (connection_->state() != ConnectionState::open) {
      lock.unlock();
      connection_->await_open(operation, deadline);
      lock.lock();
      continue;
    }
    const auto prefetch = prefetch_;
    std::shared_ptr<ChannelCore> channel =
        opening_.run(lock, [&] { return open_channel(deadline, prefetch); });
    if (ended_) {
      channel->begin_close();
    } else {
      channel_ = std::move(channel);
    }
  }
  return channel_;
}

std::shared_ptr<ChannelCore> Session::open_channel(ChannelCore::Deadline deadline,
                                                   std::optional<std::uint16_t> prefetch) {
  auto channel = connection_->open_channel(deadline);
  try {
    if (prefetch) ask(*channel, request::set_prefetch(*prefetch), deadline);
  } catch (...) {
    channel->begin_close();  // the session would not know this channel
    throw;
  }
  return channel;
}

// Uses the raw text, not the text of the Error, in which a name may be escaped.
void Session::forget_gone(const ChannelCore& channel) {
  const auto closed = channel.closed_by();
  if (!closed) return;
  const auto missing = wire::missing_queue(closed->text);
  if (!missing) return;
  const std::string name(*missing);
  if (!connection_->queue_is_pending(name)) connection_->topology().queue_gone(name);
}

Reply Session::call(const std::function<Request()>& make) {
  const auto deadline = connection_->operation_deadline();
  std::shared_ptr<ChannelCore> asked;
  try {
    return connection_->unless_lost(deadline, [&] {
      for (;;) {
        asked = channel_for(make().operation, deadline);
        const Request request = make();
        ChannelCore::Call sent;
        try {
          sent = begin(*asked, request);
        } catch (const ChannelError&) {
          // The channel was closed meanwhile, and nothing was sent: another one replaces it.
          if (!declarer_ || std::chrono::steady_clock::now() >= deadline) throw;
          continue;
        }
        return asked->finish(sent, request.operation, deadline);
      }
    });
  } catch (const ChannelError& error) {
    if (error.code() == reply_code::not_found && asked) forget_gone(*asked);
    throw;
  }
}

void Session::set_prefetch(std::uint16_t count) {
  call([&] { return request::set_prefetch(count); });
  const std::lock_guard lock(mutex_);
  prefetch_ = count;
}

std::shared_ptr<ChannelCore> Session::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  opening_.wake();
  return channel_;
}

}  // namespace warren::inline v0::engine
