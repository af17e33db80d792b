// PublishWindow once its channel or its connection is lost: what fails, and what is sent again.

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "engine/publish_window.hpp"

namespace warren::inline v0::engine {

void PublishWindow::on_closed(const ErrorDetails& error) {
  const bool recovering = error.scope == ErrorScope::connection && connection_->is_recovering();
  const std::lock_guard lock(mutex_);
  if (recovering && options_.on_loss == OnLoss::resend && !closed_) {
    std::vector<PublishSlot*> outstanding;
    tracker_.reset([&](PublishSlot* slot) {
      // What was returned has its outcome, though the ack that follows a return never came.
      if (slot->outcome == PublishOutcome::returned) return settle(*slot, PublishOutcome::returned, nullptr);
      outstanding.push_back(slot);
    });
    resend_.insert(resend_.begin(), outstanding.begin(), outstanding.end());
  } else {
    fail_all(error);
  }
  channel_.reset();
  room_.notify_all();
  changed_.notify_all();
  if (open_publishes() == 0) idle_.notify_all();
}

void PublishWindow::fail_all(const ErrorDetails& error) {
  ErrorDetails details = error;
  details.operation = operation;
  // A lone message is the one that the broker closed the channel for. Of several, nobody knows which.
  const bool lone = error.scope == ErrorScope::channel && error.code != 0 && tracker_.outstanding() == 1;
  tracker_.reset([&](PublishSlot* slot) {
    const bool refused = lone && !slot->resent;
    details.in_doubt = !refused;
    settle(*slot, refused ? PublishOutcome::refused : PublishOutcome::unknown, &details);
  });
}

// Sends what was in flight when the connection was lost, ahead of everything else: nobody publishes
// meanwhile.
void PublishWindow::recover(Deadline deadline) {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !opening_; });  // who opens a channel now fails at once, or has one
  while (!resend_.empty() && !closed_) {
    opening_ = true;
    lock.unlock();
    std::shared_ptr<ChannelCore> channel;
    std::exception_ptr failure;
    std::optional<ErrorDetails> refused;
    try {
      channel = open_channel(deadline, ConnectionCore::Access::recovery);
    } catch (const ChannelError& error) {
      refused = error.details();
      failure = std::current_exception();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    try {
      if (channel && !closed_) resend(*channel);
      if (refused) fail_resend(*refused);
    } catch (...) {
      failure = std::current_exception();
    }
    opening_ = false;
    changed_.notify_all();
    if (channel && closed_) {  // meanwhile, and found none to close
      channel->give_up();
    } else if (channel && channel->is_open()) {
      use(std::move(channel));
    }
    if (failure) std::rethrow_exception(failure);
    // One of them may have made the broker close the channel: the others go on another one.
    if (channel_) return;
  }
}

void PublishWindow::resend(ChannelCore& channel) {
  const ErrorDetails expired{.operation = operation,
                             .text = "the connection was lost, and came back after the deadline",
                             .scope = ErrorScope::connection,
                             .in_doubt = true};
  while (!resend_.empty()) {
    PublishSlot& slot = *resend_.front();
    if (Clock::now() >= slot.deadline) {  // its caller was told that it is in doubt
      resend_.pop_front();
      settle(slot, PublishOutcome::unknown, &expired);
      continue;
    }
    slot.resent = true;
    const std::size_t before = slot.frames.size();
    try {
      slot.frames.refit(channel.number(), channel.frame_max());  // nobody writes them any more
      bytes_ += slot.frames.size() - before;                     // a smaller frame_max lets them grow
    } catch (const std::exception& error) {  // its header fitted the frames of the broker before
      ErrorDetails details = expired;
      details.text = std::string("the connection was lost, and it can't be sent again: ") + error.what();
      resend_.pop_front();
      settle(slot, PublishOutcome::unknown, &details);
      continue;
    }
    bool usable = false;
    const auto admission = connection_->outbox().append(Outbox::Entry::control, slot.frames, [&] {
      // The outbox may be the next connection's by now, where the channel's number is nobody's.
      usable = channel.is_usable();
      if (usable) tracker_.add(&slot);
      return usable;
    });
    if (admission == Outbox::Admission::closed || !usable) return;
    resend_.pop_front();
  }
  if (open_publishes() == 0) idle_.notify_all();
}

void PublishWindow::abandon(const ErrorDetails& error) {
  const std::lock_guard lock(mutex_);
  fail_resend(error);
  room_.notify_all();
  changed_.notify_all();
}

void PublishWindow::fail_resend(const ErrorDetails& error) {
  ErrorDetails details = error;
  details.operation = operation;
  details.in_doubt = true;
  for (PublishSlot* slot : std::exchange(resend_, {})) settle(*slot, PublishOutcome::unknown, &details);
  if (open_publishes() == 0) idle_.notify_all();
}

}  // namespace warren::inline v0::engine
