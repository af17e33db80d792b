// How a PublishWindow finds the culprit if the broker closed the channel, or the whole connection, because of
// one of several publishes.
//
// The broker handles a channel's publishes in order, and none after the one for which it closes. It does not
// tell which one that was. So all publishes in flight become suspects, and are sent again in groups. After
// each group follows a fence, a second confirm.select. Its answer shows that the broker has handled
// everything before it, even if the confirms take longer. If the broker closes again, the culprit is in that
// group. If it was alone in the group, it is found.
//
// - A closed channel costs a round trip, so a group is half of the suspects.
// - A closed connection costs a reconnect with backoff, so a group is a sixteenth. Other publishers may have
//   had messages in flight too, so one publisher at a time has its trial (ConnectionCore::begin_trial). One
//   close with nothing else in flight may be a coincidence; the second one is proof. Codes below 500, such as
//   320, and lost links blame no publish.
// - The exchange that a 403 or 404 names only tells where to search first. Later publishes to it are also
//   sent alone, until one is confirmed. Otherwise each would be searched for among its neighbours.
// - A close also loses the confirms that were still to come. So a group that may cause a close waits for
//   them, and waits longer each time that some were lost. The wait is limited, since a queue without a quorum
//   confirms nothing.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include <warren/reply_code.hpp>

#include "engine/no_memory.hpp"
#include "engine/publish_window.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

constexpr std::size_t most_missing = 16;
constexpr std::size_t connection_parts = 16;
constexpr std::uint8_t proof = 2;  // how many closes of a connection prove the cause
constexpr std::chrono::milliseconds most_patience{5'000};

}  // namespace

// basic.publish is the first frame: type, channel, length, method, a reserved short, the exchange.
std::string_view exchange_of(const ContentFrames& frames) noexcept {
  constexpr std::size_t at = 7 + 4 + 2;
  const Bytes& bytes = *frames.bytes;
  return {bytes.data() + at + 1, static_cast<unsigned char>(bytes[at])};
}

// Decides which publishes that were in flight are suspects. If the culprit is found, takes it out and fails
// it.
void PublishWindow::blame(const ErrorDetails& error) noexcept {
  const bool of_channel = error.scope == ErrorScope::channel;
  if (!of_channel && (error.code < 500 || error.code > 599)) {
    for (PublishSlot* slot : outstanding_) slot->lost = true;
    return;
  }
  const auto passed = [](const PublishSlot* slot) { return slot->passed; };
  for (PublishSlot* slot : outstanding_) slot->lost = slot->lost || slot->passed;
  if (std::ranges::any_of(outstanding_, passed)) patience_ = std::min(2 * patience_, most_patience);
  if (of_channel && std::ranges::all_of(outstanding_, passed)) {  // handled before, refused now
    for (PublishSlot* slot : outstanding_) slot->passed = false;
  }
  const auto unknown =
      std::ranges::count_if(outstanding_, [&](const PublishSlot* slot) { return !passed(slot); });
  if (unknown == 0) return;  // something else on this connection caused the close
  for (PublishSlot* slot : resend_) slot->suspect = false;
  try {
    if (of_channel) note_named(error);
  } catch (...) {  // no memory for a hint
  }
  for (PublishSlot* slot : outstanding_) slot->suspect = !slot->passed;
  on_trial_ = on_trial_ || !of_channel;
  if (unknown != 1) return;

  const auto found =
      std::ranges::find_if(outstanding_, [&](const PublishSlot* slot) { return !passed(slot); });
  PublishSlot& culprit = **found;
  if (!of_channel && ++culprit.strikes < proof) return;
  outstanding_.erase(found);
  ErrorDetails details = kept(error);
  details.operation = operation;
  details.in_doubt = culprit.lost;
  if (!of_channel) {
    details.permanent = true;
    details.text = text_or_no_memory([&] {
      return fmt::format("the broker closed the connection each time that it was sent: {}", error.text);
    });
    connection_->events().log(LogLevel::error, [&] {
      return fmt::format(
          "publisher to exchange \"{}\": a message to exchange \"{}\" is given up, since the broker "
          "closes the connection over it: {} {}",
          options_.exchange, exchange_of(culprit.frames), error.code, error.text);
    });
  }
  settle(culprit, culprit.lost ? PublishOutcome::unknown : PublishOutcome::refused, &details);
}

void PublishWindow::note_named(const ErrorDetails& error) {
  if (error.code != reply_code::not_found && error.code != reply_code::access_refused) return;
  for (const PublishSlot* slot : outstanding_) {
    const std::string_view exchange = exchange_of(slot->frames);
    if (!wire::is_named(exchange, error.text) || is_missing(exchange)) continue;
    if (missing_.size() == most_missing) missing_.erase(missing_.begin());
    missing_.emplace_back(exchange);
  }
}

bool PublishWindow::is_missing(std::string_view exchange) const {
  return std::ranges::find(missing_, exchange) != missing_.end();
}

bool PublishWindow::is_careful(const PublishSlot& slot) const {
  return slot.suspect || (!missing_.empty() && is_missing(exchange_of(slot.frames)));
}

// How many publishes to send from the front of resend_, up to a fence if one of them is_careful().
std::size_t PublishWindow::next_group() {
  const auto careful = [&](const PublishSlot* slot) { return is_careful(*slot); };
  const auto first = std::ranges::find_if(resend_, careful);
  if (first != resend_.begin()) return static_cast<std::size_t>(first - resend_.begin());
  const auto suspects = static_cast<std::size_t>(
      std::ranges::find_if_not(resend_, [](const PublishSlot* slot) { return slot->suspect; }) -
      resend_.begin());
  if (suspects < 2) return 1;
  for (std::size_t i = 0; i < suspects; ++i) {
    if (is_missing(exchange_of(resend_[i]->frames))) return std::max<std::size_t>(i, 1);
  }
  return std::max<std::size_t>(1, suspects / (on_trial_ ? connection_parts : 2));
}

// Whether the broker has handled all sent publishes.
bool PublishWindow::all_passed() {
  return tracker_.find([](const PublishSlot* slot) { return !slot->passed; }) == nullptr;
}

// Sends the part of resend_ that may be sent now. If there is no memory, the connection is dropped, and the
// next one sends it.
void PublishWindow::advance() noexcept {
  try {
    send_queued();
  } catch (...) {
    connection_->drop(no_memory);
  }
}

void PublishWindow::send_queued() {
  while (channel_ && !fence_ && !resend_.empty()) {
    expire(Clock::now());
    if (resend_.empty()) break;
    const std::size_t count = next_group();
    const bool careful = is_careful(*resend_.front());
    if (!careful) draining_ = false;
    if (careful && !all_passed()) return fence();
    if (careful && !is_drained()) return;
    if (on_trial_ && resend_.front()->suspect && !connection_->begin_trial(this)) return;
    if (!send_front(count)) return;
    if (careful) return fence();
  }
  if (resend_.empty()) draining_ = false;
}

// False if the channel is closed.
bool PublishWindow::send_front(std::size_t count) {
  for (; count != 0 && !resend_.empty(); --count) {
    PublishSlot& slot = *resend_.front();
    const std::size_t before = slot.frames.size();
    try {
      // Frames that the outbox refers to may still be written for the previous channel.
      if (slot.sent && is_referred_to(slot.frames)) {
        slot.frames.bytes = std::make_shared<Bytes>(*slot.frames.bytes);
      }
      slot.frames.refit(channel_->number(), channel_->frame_max());
      bytes_ += slot.frames.size() - before;  // with a smaller frame_max the frames grow
    } catch (const InvalidArgument& error) {  // its header fitted the previous broker's frame_max
      const ErrorDetails details{
          .operation = operation,
          .text = std::string("the connection was lost, and it can't be sent again: ") + error.what(),
          .scope = ErrorScope::connection,
          .in_doubt = slot.sent};
      resend_.pop_front();
      settle(slot, PublishOutcome::unknown, &details);
      continue;
    }
    bool usable = false;
    const auto admission = connection_->outbox().append(Outbox::Entry::control, slot.frames, [&] {
      // The outbox may already belong to the next connection, on which this channel does not exist.
      usable = channel_->is_usable();
      if (usable) tracker_.add(&slot);
      return usable;
    });
    if (admission == Outbox::Admission::closed || !usable) return false;
    resend_.pop_front();
    slot.resent = slot.sent;
    slot.sent = true;
  }
  if (open_publishes() == 0) idle_.notify_all();
  return true;
}

// Nothing more is sent until the broker has handled all sent publishes. If the channel is gone, on_closed()
// follows.
void PublishWindow::fence() {
  fence_ = true;
  if (channel_->post(wire::id::confirm_select_ok, ChannelCore::Answer::told, wire::confirm_select)) ++fences_;
}

// Whether no publish is unconfirmed, or the wait has lasted long enough.
bool PublishWindow::is_drained() {
  const auto now = Clock::now();
  if (tracker_.outstanding() == 0) {
    patience_ = least_patience;
  } else if (!draining_) {
    draining_ = true;
    drain_until_ = now + patience_;
    if (!connection_->request_tick(channel_)) connection_->drop(no_memory);
    return false;
  } else if (now < drain_until_) {
    return false;
  }
  draining_ = false;
  return true;
}

void PublishWindow::on_answered() {
  Lock lock(mutex_);
  if (fences_ != 0 && --fences_ == 0 && fence_) pass();
  finish(lock);
}

// Every publish in flight was handled, or is settled.
void PublishWindow::pass() {
  fence_ = false;
  tracker_.each([](PublishSlot* slot) {
    slot->passed = true;
    slot->suspect = false;
    slot->strikes = 0;
  });
  advance();
}

void PublishWindow::on_trial_over() {
  Lock lock(mutex_);
  if (!on_trial_) return;
  advance();
  finish(lock);
}

// Called before the lock is released: if the trial is over, it lets another publisher have its turn.
void PublishWindow::finish(Lock& lock) {
  if (!on_trial_ || fence_ || draining_) return;
  if (std::ranges::any_of(resend_, [](const PublishSlot* slot) { return slot->suspect; })) return;
  on_trial_ = false;
  lock.unlock();
  connection_->end_trial(this);
}

}  // namespace warren::inline v0::engine
