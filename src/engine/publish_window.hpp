#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <warren/publisher_options.hpp>

#include "engine/channel_core.hpp"
#include "engine/confirm_tracker.hpp"
#include "engine/connection_core.hpp"
#include "engine/publisher_state.hpp"
#include "engine/slot_queue.hpp"

namespace warren::inline v0::engine {

class PublishWindow;

/// A caller's callback for a publish. Made before the publish is settled, so that calling it needs no memory.
struct SettledCall {
  std::function<void(PublishOutcome, const ErrorDetails*)> callback{};
  PublishOutcome outcome = PublishOutcome::pending;
  std::optional<ErrorDetails> error{};
  /// Keeps the window alive until the callback was called; the publisher and the Confirmation may be gone by
  /// then.
  std::shared_ptr<PublishWindow> window{};
};

/// One publish in flight. Its window's lock guards it. It is used again once nothing refers to it.
struct PublishSlot {
  ContentFrames frames{};  ///< as they were sent; the outbox may refer to them until they are written
  std::int64_t stamp = 0;
  std::uint32_t frame_max = 0;  ///< the frame_max for which the frames were made
  PublishOutcome outcome = PublishOutcome::pending;
  std::unique_ptr<ErrorDetails> error{};  ///< the error if it failed; null if there was no memory for it
  std::chrono::steady_clock::time_point deadline{};
  bool in_window = false;  ///< the broker's answer is still to come
  bool held = false;       ///< a Confirmation, or a waiting publish, will ask for the outcome
  bool seen = false;       ///< its caller knows that it failed
  bool waiting = false;
  bool sent = false;    ///< it was sent at least once
  bool resent = false;  ///< it was sent more than once, so the broker may have accepted an earlier copy
  /// It was in flight when a connection was lost, or it was `passed`, so the broker may have accepted it.
  bool lost = false;
  bool passed = false;   ///< the broker has handled it without closing anything; the confirm is still to come
  bool suspect = false;  ///< the broker closed the channel or connection because of it or of another publish
  bool expired = false;  ///< its deadline has passed, and it is still in the window
  bool final = false;    ///< its caller was told that the outcome is unknown: it does not change any more
  std::uint8_t strikes = 0;  ///< how often the connection was closed with nothing else in flight
  bool listened = false;     ///< a callback was set
  std::condition_variable settled{};
  std::shared_ptr<SettledCall> call{};  ///< the callback for its outcome; null: none, or already called
  std::function<void()> tell{};         ///< runs `call`

  [[nodiscard]] std::size_t capacity() const noexcept { return frames.bytes ? frames.bytes->capacity() : 0; }
};

[[nodiscard]] inline bool has_failed(PublishOutcome outcome) noexcept {
  return outcome != PublishOutcome::pending && outcome != PublishOutcome::confirmed;
}

/// The exchange to which the frames publish.
[[nodiscard]] std::string_view exchange_of(const ContentFrames& frames) noexcept;

/// The publishes of one Publisher: its channel in confirm mode, the window in flight, and the threads that
/// wait.
///
/// Any thread publishes; the I/O thread settles. Lock order: this object's lock, then the outbox's. No thread
/// waits for the outbox or for the window while it holds this object's lock.
class PublishWindow final : public ChannelSink,
                            public Recoverable,
                            public std::enable_shared_from_this<PublishWindow> {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;

  PublishWindow(std::shared_ptr<ConnectionCore> connection, PublisherOptions options);
  ~PublishWindow() override;
  PublishWindow(const PublishWindow&) = delete;
  PublishWindow& operator=(const PublishWindow&) = delete;

  [[nodiscard]] const OwnProcess& process() const noexcept { return connection_->process(); }
  [[nodiscard]] const PublisherOptions& options() const noexcept { return options_; }
  /// Opens the channel before the first publish. Must be called once. @throws as the constructor of Publisher
  /// does
  void open();
  /// Numbers and sends a message. Throws if it was not sent. The slot is held for the caller.
  PublishSlot* publish(const Message& message, const PublishOptions& options);
  /// Waits until the publish is settled, at most until `until`. True if it is confirmed. False if its outcome
  /// is open at `until` and its own deadline has not passed. Otherwise throws.
  [[nodiscard]] bool wait(PublishSlot& slot, Deadline until);
  /// Calls `callback` once with the outcome, on the events' thread.
  void on_settled(PublishSlot& slot, std::function<void(PublishOutcome, const ErrorDetails*)> callback);
  /// The caller no longer needs the slot.
  void release(PublishSlot& slot) noexcept;
  [[nodiscard]] PublishOutcome outcome(PublishSlot& slot);
  void flush(Deadline deadline);
  [[nodiscard]] std::size_t in_flight();
  /// Closes the channel; begin_close() does not wait for the answer, close() waits.
  void begin_close() noexcept;
  void close() noexcept;

  void on_return(ContentAssembler::ContentPtr content) override;
  bool on_confirm(std::uint64_t tag, bool multiple, bool acknowledged) override;
  void on_unblocked() override;
  void on_closed(const ErrorDetails& error) noexcept override;
  void on_answered() override;
  void on_forgotten() override;
  bool on_tick() override;
  void lost() noexcept override;
  void recover(Deadline deadline) override;
  void abandon(const ErrorDetails& error) noexcept override;
  void on_trial_over() override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  static constexpr const char* operation = "basic.publish";
  static constexpr std::chrono::milliseconds least_patience{100};
  struct Failure {
    PublishOutcome outcome;
    ErrorDetails error;
  };

  [[nodiscard]] std::shared_ptr<ChannelCore> take_channel() noexcept;
  [[nodiscard]] std::shared_ptr<ChannelCore> open_channel(Deadline deadline, ConnectionCore::Access access);
  void use(std::shared_ptr<ChannelCore> channel);
  void ensure_channel(Lock& lock, Deadline deadline);
  void open_for_caller(Lock& lock, Deadline deadline);
  [[nodiscard]] bool take(std::shared_ptr<ChannelCore> channel);
  void step(PublisherEvent event) noexcept { state_ = next(state_, event); }
  // How many publishes are in the window, and how many of them have an open outcome.
  [[nodiscard]] std::size_t in_window() const noexcept { return tracker_.outstanding() + resend_.size(); }
  [[nodiscard]] std::size_t open_publishes() const noexcept { return in_window() - expired_; }
  void admit(Lock& lock, std::size_t bytes, Deadline deadline);
  [[nodiscard]] PublishSlot* send(ContentFrames& frames, std::uint16_t number, std::uint32_t frame_max,
                                  std::int64_t stamp, Deadline deadline);
  [[nodiscard]] std::pair<Outbox::Admission, PublishSlot*> append(ContentFrames& frames,
                                                                  std::uint32_t frame_max, std::int64_t stamp,
                                                                  Deadline deadline);
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept;
  PublishSlot& acquire();
  void make_room_for_slots(std::size_t count);
  [[nodiscard]] PublishSlot* enqueue(ContentFrames& frames, std::uint32_t frame_max, std::int64_t stamp,
                                     Deadline deadline);
  void drop(PublishSlot& slot) noexcept;
  [[nodiscard]] bool takes_next(std::size_t most_in_flight, std::size_t most_bytes) noexcept;
  void pass_on_room() noexcept;
  void revive(Lock& lock, Deadline deadline);
  [[nodiscard]] bool is_coming();

  // publish_settle.cpp
  void settle(PublishSlot& slot, PublishOutcome outcome, const ErrorDetails* error) noexcept;
  void expire(Deadline now) noexcept;
  void tell(PublishSlot& slot) noexcept;
  void watch_deadlines(Deadline first);
  void note_unseen(PublishSlot& slot) noexcept;
  void log_unseen(Deadline now) noexcept;

  // publish_recovery.cpp
  [[nodiscard]] std::exception_ptr open_for_recovery(Lock& lock, Deadline deadline);
  void keep(const ErrorDetails& error) noexcept;
  void fail_resend(const ErrorDetails& error) noexcept;
  void fail_outstanding(const ErrorDetails& error) noexcept;
  [[nodiscard]] ErrorDetails expired_in_queue(const PublishSlot& slot) const noexcept;
  void take_outstanding() noexcept;

  // publish_trial.cpp
  void blame(const ErrorDetails& error) noexcept;
  void note_named(const ErrorDetails& error);
  [[nodiscard]] bool is_careful(const PublishSlot& slot) const;
  [[nodiscard]] bool is_missing(std::string_view exchange) const;
  [[nodiscard]] std::size_t next_group();
  [[nodiscard]] bool all_passed();
  void advance() noexcept;
  void send_queued();
  [[nodiscard]] bool send_front(std::size_t count);
  void fence();
  [[nodiscard]] bool is_drained();
  void pass();
  void finish(Lock& lock);

  const std::shared_ptr<ConnectionCore> connection_;
  const PublisherOptions options_;
  std::atomic<std::int64_t> next_stamp_{1};
  // The values to encode for, read before the lock and checked again under it.
  std::atomic<std::uint16_t> channel_number_{0};
  std::atomic<std::uint32_t> frame_max_{0};

  mutable std::mutex mutex_;
  std::condition_variable room_;     // the window has room, the channel is gone, or an alarm is over
  std::condition_variable changed_;  // the channel changed, or an attempt to open one begins or ends
  std::condition_variable idle_;
  std::size_t waiting_for_room_ = 0;
  bool next_is_woken_ = false;  // one of the threads that wait for room was woken
  std::shared_ptr<ChannelCore> channel_;
  PublisherState state_ = PublisherState::idle;  // changed only by step()
  ConfirmTracker<PublishSlot*> tracker_;
  // These have room for all slots, so that handling a lost channel needs no memory.
  SlotQueue<PublishSlot> resend_;           // to be sent in this order, for the first time or again
  std::vector<PublishSlot*> outstanding_;   // in flight on the lost channel; empty between two losses
  std::size_t bytes_ = 0;                   // in the window
  std::size_t expired_ = 0;                 // expired slots in tracker_
  Deadline next_expiry_ = Deadline::max();  // no deadline in the window is earlier
  std::size_t untold_ = 0;                  // callbacks that are still to be called
  Deadline next_watch_ = Deadline::max();   // when the events' thread looks for expired publishes
  // Sending carefully: see publish_trial.cpp.
  bool fence_ = false;      // nothing is sent until the broker has handled all earlier publishes
  std::size_t fences_ = 0;  // answers that are still to come
  bool draining_ = false;  // nothing is sent until all earlier publishes are confirmed, or until drain_until_
  Deadline drain_until_{};
  std::chrono::milliseconds patience_ = least_patience;
  bool on_trial_ = false;             // its suspects were in flight when the broker closed the connection
  std::vector<std::string> missing_;  // exchanges for which the broker closed a channel
  std::size_t kept_ = 0;              // bytes of the large buffers of free slots
  std::deque<PublishSlot> slots_;
  std::vector<PublishSlot*> free_;
  std::optional<Failure> unseen_;  // the first failure that no caller saw
  // Failures that no caller saw: by outcome, those not logged yet; then the number of all of them.
  std::array<std::size_t, 6> unlogged_{};
  std::size_t unseen_count_ = 0;
  std::string unlogged_reason_;  // the reason of the latest
  Deadline next_log_ = Deadline::min();
};

}  // namespace warren::inline v0::engine
