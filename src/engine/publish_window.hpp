#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include <warren/publisher.hpp>

#include "engine/channel_core.hpp"
#include "engine/confirm_tracker.hpp"
#include "engine/connection_core.hpp"

namespace warren::inline v0::engine {

/// One publish in flight. Guarded by its window's lock; used again once nobody refers to it.
struct PublishSlot {
  ContentFrames frames{};  ///< as they were sent; the outbox may refer to them until they are written
  std::int64_t stamp = 0;
  std::uint32_t frame_max = 0;  ///< that the frames were made for
  PublishOutcome outcome = PublishOutcome::pending;
  std::unique_ptr<ErrorDetails> error{};  ///< where it failed
  std::chrono::steady_clock::time_point deadline{};
  bool in_window = false;  ///< the broker's answer is still to come
  bool held = false;       ///< a Confirmation, or a publish that waits, will look
  bool seen = false;       ///< its caller knows that it failed
  bool waiting = false;
  bool resent = false;  ///< what was sent before may have been taken
  std::condition_variable settled{};

  [[nodiscard]] std::size_t capacity() const noexcept { return frames.bytes ? frames.bytes->capacity() : 0; }
};

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

  [[nodiscard]] const OwnProcess& process() const noexcept { return connection_->process(); }
  /// Opens the channel ahead of the first publish; once. @throws as Publisher's constructor
  void open();
  /// Numbers and sends a message. Throws where it was not sent. The slot is held for the caller.
  PublishSlot* publish(const Message& message, const PublishOptions& options);
  /// Returns once confirmed, else throws.
  void wait(PublishSlot& slot, Deadline deadline);
  /// The caller looks no more.
  void release(PublishSlot& slot) noexcept;
  [[nodiscard]] PublishOutcome outcome(PublishSlot& slot);
  void flush(Deadline deadline);
  [[nodiscard]] std::size_t in_flight() const;
  /// Closes the channel, without waiting for the answer, or waiting for it.
  void begin_close() noexcept;
  void close() noexcept;

  void on_return(ContentAssembler::ContentPtr content) override;
  bool on_confirm(std::uint64_t tag, bool multiple, bool acknowledged) override;
  void on_unblocked() override;
  void on_closed(const ErrorDetails& error) override;
  void recover(Deadline deadline) override;
  void abandon(const ErrorDetails& error) override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  static constexpr const char* operation = "basic.publish";
  struct Failure {
    PublishOutcome outcome;
    ErrorDetails error;
  };

  [[nodiscard]] std::shared_ptr<ChannelCore> take_channel() noexcept;
  [[nodiscard]] std::shared_ptr<ChannelCore> open_channel(Deadline deadline, ConnectionCore::Access access);
  void use(std::shared_ptr<ChannelCore> channel);
  void ensure_channel(Lock& lock, Deadline deadline);
  [[nodiscard]] std::size_t open_publishes() const noexcept {
    return tracker_.outstanding() + resend_.size();
  }
  void admit(Lock& lock, std::size_t bytes, Deadline deadline);
  [[nodiscard]] PublishSlot* send(ContentFrames& frames, std::uint16_t number, std::uint32_t frame_max,
                                  std::int64_t stamp, Deadline deadline);
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept;
  PublishSlot& acquire();
  void settle(PublishSlot& slot, PublishOutcome outcome, const ErrorDetails* error);
  void drop(PublishSlot& slot);
  [[nodiscard]] bool takes_next(std::size_t most_in_flight, std::size_t most_bytes) noexcept;
  void pass_on_room() noexcept;

  // publish_recovery.cpp
  void resend(ChannelCore& channel);
  void fail_resend(const ErrorDetails& error);
  void fail_all(const ErrorDetails& error);

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
  bool opening_ = false;
  bool closed_ = false;
  ConfirmTracker<PublishSlot*> tracker_;
  std::deque<PublishSlot*> resend_;  // were in flight when the connection was lost; in their order
  std::size_t bytes_ = 0;            // in flight
  std::size_t kept_ = 0;             // of the large buffers of free slots
  std::deque<PublishSlot> slots_;
  std::vector<PublishSlot*> free_;
  std::optional<Failure> unseen_;  // the first failure that nobody saw
};

}  // namespace warren::inline v0::engine
