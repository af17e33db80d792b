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

/// What a caller wants to be told of a publish. Made before it is settled, so that telling needs no memory.
struct SettledCall {
  std::function<void(PublishOutcome, const ErrorDetails*)> callback{};
  PublishOutcome outcome = PublishOutcome::pending;
  std::optional<ErrorDetails> error{};
  /// Keeps the window until the callback was called: publisher and Confirmation may be gone.
  std::shared_ptr<PublishWindow> window{};
};

/// One publish in flight. Guarded by its window's lock; used again once nobody refers to it.
struct PublishSlot {
  ContentFrames frames{};  ///< as they were sent; the outbox may refer to them until they are written
  std::int64_t stamp = 0;
  std::uint32_t frame_max = 0;  ///< that the frames were made for
  PublishOutcome outcome = PublishOutcome::pending;
  std::unique_ptr<ErrorDetails> error{};  ///< where it failed; null if there was no memory for it
  std::chrono::steady_clock::time_point deadline{};
  bool in_window = false;  ///< the broker's answer is still to come
  bool held = false;       ///< a Confirmation, or a publish that waits, will look
  bool seen = false;       ///< its caller knows that it failed
  bool waiting = false;
  bool sent = false;     ///< at least once
  bool resent = false;   ///< more than once: what was sent before may have been taken
  bool lost = false;     ///< in flight when a link was lost, or passed: it may have been taken
  bool passed = false;   ///< the broker has handled it, and closed nothing over it; the confirm is to come
  bool suspect = false;  ///< the channel or connection was closed over it, or over another one
  bool expired = false;  ///< past its deadline, and still in the window
  bool final = false;    ///< its caller was told that it is unknown: no late answer changes that
  std::uint8_t strikes = 0;  ///< how often the connection was closed with nothing else in flight
  bool listened = false;     ///< a callback was set
  std::condition_variable settled{};
  std::shared_ptr<SettledCall> call{};  ///< whom to tell once it is settled; null: nobody, or it was told
  std::function<void()> tell{};         ///< runs `call`

  [[nodiscard]] std::size_t capacity() const noexcept { return frames.bytes ? frames.bytes->capacity() : 0; }
};

[[nodiscard]] inline bool has_failed(PublishOutcome outcome) noexcept {
  return outcome != PublishOutcome::pending && outcome != PublishOutcome::confirmed;
}

/// Where frames go.
[[nodiscard]] std::string_view exchange_of(const ContentFrames& frames) noexcept;

/// The publishes of one Publisher: its channel in confirm mode, the window in flight, who waits for what.
///
/// Any thread publishes, the I/O thread settles. Lock order: this one's, then the outbox's. Nothing waits for
/// the outbox or for the window while it holds this lock.
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
  /// Opens the channel ahead of the first publish; once. @throws as Publisher's constructor
  void open();
  /// Numbers and sends a message. Throws where it was not sent. The slot is held for the caller.
  PublishSlot* publish(const Message& message, const PublishOptions& options);
  /// Waits until it is settled, at most until `until`. True once confirmed; false if it is open then, and not
  /// past its own deadline; else throws.
  [[nodiscard]] bool wait(PublishSlot& slot, Deadline until);
  /// Tells `callback` once, on the events' thread.
  void on_settled(PublishSlot& slot, std::function<void(PublishOutcome, const ErrorDetails*)> callback);
  /// The caller looks no more.
  void release(PublishSlot& slot) noexcept;
  [[nodiscard]] PublishOutcome outcome(PublishSlot& slot);
  void flush(Deadline deadline);
  [[nodiscard]] std::size_t in_flight();
  /// Closes the channel, without waiting for the answer, or waiting for it.
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
  // Those in the window, and those of them whose outcome is open.
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
  // To encode for, before the lock; looked at again within it.
  std::atomic<std::uint16_t> channel_number_{0};
  std::atomic<std::uint32_t> frame_max_{0};

  mutable std::mutex mutex_;
  std::condition_variable room_;     // in the window; no channel, or no alarm any more
  std::condition_variable changed_;  // the channel, or who opens one
  std::condition_variable idle_;
  std::size_t waiting_for_room_ = 0;
  bool next_is_woken_ = false;  // of those that wait for room
  std::shared_ptr<ChannelCore> channel_;
  PublisherState state_ = PublisherState::idle;  // never without step()
  ConfirmTracker<PublishSlot*> tracker_;
  // These have room for all slots: what becomes of them once the channel is lost needs no memory.
  SlotQueue<PublishSlot> resend_;          // to be sent, in their order: again, or for the first time
  std::vector<PublishSlot*> outstanding_;  // in flight on the channel that was lost; empty between two losses
  std::size_t bytes_ = 0;                  // in the window
  std::size_t expired_ = 0;                // of those in tracker_
  Deadline next_expiry_ = Deadline::max();  // no deadline of one in the window is before it
  std::size_t untold_ = 0;                  // callbacks to come
  Deadline next_watch_ = Deadline::max();   // when the events' thread looks for what has expired
  // Sending carefully: see publish_trial.cpp.
  bool fence_ = false;      // nothing is sent until the broker has handled all before it
  std::size_t fences_ = 0;  // answers to come
  bool draining_ = false;   // nothing is sent until all before it is confirmed, or until then:
  Deadline drain_until_{};
  std::chrono::milliseconds patience_ = least_patience;
  bool on_trial_ = false;             // its suspects are those of a connection that was closed
  std::vector<std::string> missing_;  // exchanges that the broker closed a channel over
  std::size_t kept_ = 0;              // of the large buffers of free slots
  std::deque<PublishSlot> slots_;
  std::vector<PublishSlot*> free_;
  std::optional<Failure> unseen_;  // the first failure that nobody saw
  // Those that nobody saw, by outcome, which are not logged yet, and all of them.
  std::array<std::size_t, 6> unlogged_{};
  std::size_t unseen_count_ = 0;
  std::string unlogged_reason_;  // of the latest
  Deadline next_log_ = Deadline::min();
};

}  // namespace warren::inline v0::engine
