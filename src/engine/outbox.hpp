#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>

#include "engine/output.hpp"
#include "engine/system.hpp"

namespace warren::inline v0::engine {

/// Writes to the socket without blocking.
class DirectWriter {
 public:
  virtual ~DirectWriter() = default;
  /// Returns how many bytes of all the chunks were written. An error returns 0: the I/O thread meets that
  /// error too and reports it.
  virtual std::size_t write(std::span<const std::string_view> chunks) noexcept = 0;
};

/// The bytes that wait to be written on a connection. Other threads write only into this object of the I/O
/// thread.
///
/// The order in the outbox is the order on the wire. Numbers that must follow that order (confirm numbers)
/// are taken inside `encode`, under the outbox's lock. The size is bounded in bytes: an entry is admitted
/// whole if the outbox is below its bound. If the outbox was empty, the caller may write the entry itself;
/// else the I/O thread is woken if it sleeps.
class Outbox {
 public:
  enum class Admission { accepted, full, closed };
  enum class Entry {
    control,  ///< never refused when the outbox is full
    answer,   ///< like control, but caused by the broker: see unread_answers()
    lone,     ///< refused while full; written at once if nothing is queued before it
    /// Refused while full. Written at once after a pause or after bytes from the broker, else batched.
    bulk,
  };

  explicit Outbox(std::size_t bound) : bound_(bound) {}

  /// Opens the outbox for a connection. `writer` may be null (with TLS only the I/O thread writes).
  void open(DirectWriter* writer) noexcept;
  /// Refuses later entries, drops the pending ones, and wakes the threads that wait for space.
  void close() noexcept;
  /// Asks the I/O thread to end this connection, because memory ran out and a necessary frame cannot be sent.
  /// Otherwise the broker would wait for that frame. Any thread; never blocks.
  void break_off() noexcept {
    broken_off_.store(true, std::memory_order_release);
    wakeup_.wake();
  }
  /// Whether break_off() was called since open(). For the I/O thread.
  [[nodiscard]] bool is_broken_off() const noexcept { return broken_off_.load(std::memory_order_acquire); }

  /// Calls `encode(Bytes&)`, which appends whole frames; if it throws, it leaves the buffer unchanged. Any
  /// thread; blocks only for a lock. May be called with the lock of a channel or of a publisher held.
  /// @param end  set to the entry's end on the wire, for is_written()
  template <typename Encode>
  Admission append(Entry entry, Encode&& encode, std::uint64_t* end = nullptr) {
    return admit(entry, [&] {
      encode(pending_.bytes());
      if (end != nullptr) *end = passed_ + pending_.size();
      return true;
    });
  }

  /// Appends frames that are encoded already. Large frames are not copied: they must not change until they
  /// are written and the outbox no longer refers to them. `admitted` is called with the lock held and returns
  /// whether to send them. If it throws, nothing is sent.
  template <typename Admitted>
  Admission append(Entry entry, const ContentFrames& frames, Admitted&& admitted) {
    return admit(entry, [&] {
      pending_.make_room_for(frames);
      if (!admitted()) return false;
      pending_.add(frames);
      return true;
    });
  }

  /// Waits until there is space, the outbox is closed, or the deadline passes (false). The caller must hold
  /// no other lock, since the I/O thread may need it before it makes space.
  bool wait_for_space(std::chrono::steady_clock::time_point deadline);

  /// Swaps the pending output into an empty buffer; for the I/O thread. If there is none, the thread counts
  /// as asleep from now on, and the next entry wakes it. True if there is something to write.
  bool take(Output& out) noexcept;
  /// Drops the output that the I/O thread took, since no peer reads it. For the I/O thread.
  void discard(Output& out);
  /// Counts `size` more bytes of the taken output as written. For the I/O thread.
  void wrote(std::size_t size) noexcept { written_.fetch_add(size, std::memory_order_relaxed); }
  /// Whether everything up to `end` is written to the socket, so that the broker can answer it. Must not be
  /// called with the lock held.
  [[nodiscard]] bool is_written(std::uint64_t end);
  /// Bytes of answers that the broker has caused and that are not written yet, because the broker reads too
  /// slowly.
  [[nodiscard]] std::size_t unread_answers() const noexcept {
    return unread_answers_.load(std::memory_order_relaxed);
  }
  /// The I/O thread is awake again. Takes no lock, since another thread may be writing under it.
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }

  /// The broker sent something; for the I/O thread. The next entry is likely an answer to it, and not one of
  /// a stream of publishes.
  void heard() noexcept { heard_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] Wakeup& wakeup() noexcept { return wakeup_; }

 private:
  template <typename Add>  // returns whether it added anything
  Admission admit(Entry entry, Add&& add) {
    if (process_.seems_left()) return Admission::closed;  // the socket is the parent's
    const std::lock_guard lock(mutex_);
    if (!open_) return Admission::closed;
    const std::size_t before = pending_.size();
    if (entry != Entry::control && entry != Entry::answer && before >= bound_) return Admission::full;
    if (!add()) return Admission::accepted;
    if (entry == Entry::answer) count_answers(answers_ + pending_.size() - before);
    appended(entry, before == 0);
    return Admission::accepted;
  }
  void count_answers(std::size_t pending) noexcept {
    answers_ = pending;
    unread_answers_.store(answers_ + taken_answers_, std::memory_order_relaxed);
  }
  void appended(Entry entry, bool was_empty) noexcept;
  [[nodiscard]] bool may_write_now(Entry entry) noexcept;
  [[nodiscard]] bool write_now() noexcept;

  const OwnProcess process_;
  std::mutex mutex_;
  std::condition_variable space_;
  Output pending_;
  const std::size_t bound_;
  DirectWriter* writer_ = nullptr;
  bool open_ = false;
  std::uint64_t passed_ = 0;  // bytes that have left pending_, since open()
  std::atomic<std::uint64_t> written_{0};
  std::size_t answers_ = 0;        // bytes of answers in pending_
  std::size_t taken_answers_ = 0;  // bytes of answers in the output that the I/O thread took
  std::atomic<std::size_t> unread_answers_{0};
  // Set under the lock. Cleared under it, or by the I/O thread, which looks into the outbox again before it
  // sleeps.
  std::atomic<bool> asleep_{false};
  std::atomic<bool> heard_{false};  // the broker sent something since the last direct write
  std::atomic<bool> broken_off_{false};
  std::chrono::steady_clock::time_point last_direct_{};
  Wakeup wakeup_;
};

}  // namespace warren::inline v0::engine
