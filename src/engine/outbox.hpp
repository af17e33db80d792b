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
  /// How many bytes were taken of them all. An error reads as 0: the I/O thread meets it again and reports
  /// it.
  virtual std::size_t write(std::span<const std::string_view> chunks) noexcept = 0;
};

/// What waits to be written on a connection: the only thing of the I/O thread's that others write into.
///
/// Order in the outbox is order on the wire, so what must agree with it (confirm numbers) is taken inside
/// `encode`, under the outbox's lock. Bounded in bytes: one entry that finds it below its bound is admitted
/// whole. A caller whose entry stands alone sends it itself; else the I/O thread is woken, if it sleeps.
class Outbox {
 public:
  enum class Admission { accepted, full, closed };
  enum class Entry {
    control,  ///< never refused for want of space
    answer,   ///< as control, and caused by the broker: see unread_answers()
    lone,     ///< refused while full; sent at once if nothing is queued before it
    bulk,     ///< refused while full; sent at once after a pause or a word of the broker's, else batched
  };

  explicit Outbox(std::size_t bound) : bound_(bound) {}

  /// Opens it for a connection. `writer` may be null (TLS: only the I/O thread writes).
  void open(DirectWriter* writer) noexcept;
  /// Refuses all that comes from now on, drops what is in it, and wakes the threads that wait for space.
  void close() noexcept;
  /// Something that has to be sent can't be, for a lack of memory: the I/O thread is to end this connection,
  /// so that the broker does not wait for it. Any thread; never blocks.
  void break_off() noexcept {
    broken_off_.store(true, std::memory_order_release);
    wakeup_.wake();
  }
  /// The I/O thread: whether break_off() was called since open().
  [[nodiscard]] bool is_broken_off() const noexcept { return broken_off_.load(std::memory_order_acquire); }

  /// Calls `encode(Bytes&)`, which appends whole frames or throws with the buffer as it was.
  /// Any thread; blocks for a lock only. May be called with a channel's or a publisher's lock held.
  /// @param end  set to where the entry ends on the wire, for is_written()
  template <typename Encode>
  Admission append(Entry entry, Encode&& encode, std::uint64_t* end = nullptr) {
    return admit(entry, [&] {
      encode(pending_.bytes());
      if (end != nullptr) *end = passed_ + pending_.size();
      return true;
    });
  }

  /// The same for whole frames that are there already. Large ones are not copied: they must not change before
  /// they are written, which is when nobody here refers to them any more. `admitted` is called with the lock
  /// held, and says whether they are to be sent; if it throws, nothing is.
  template <typename Admitted>
  Admission append(Entry entry, const ContentFrames& frames, Admitted&& admitted) {
    return admit(entry, [&] {
      pending_.make_room_for(frames);
      if (!admitted()) return false;
      pending_.add(frames);
      return true;
    });
  }

  /// Waits until there is space, the outbox is closed, or the deadline passes (false). No other lock may be
  /// held: the I/O thread may need it before it makes space.
  bool wait_for_space(std::chrono::steady_clock::time_point deadline);

  /// The I/O thread: swaps what is pending into an empty buffer. If there is nothing, it counts as asleep
  /// from this moment on, and is woken by the next entry. True if there is something to write.
  bool take(Output& out) noexcept;
  /// The I/O thread: drops what it took, since nobody reads it.
  void discard(Output& out);
  /// The I/O thread: so many bytes of what it took are written.
  void wrote(std::size_t size) noexcept { written_.fetch_add(size, std::memory_order_relaxed); }
  /// Whether all up to that end is written to the socket, and so can be answered. Not with the lock held.
  [[nodiscard]] bool is_written(std::uint64_t end);
  /// Bytes of answers that the broker has caused, and that are not written yet since it reads too little.
  [[nodiscard]] std::size_t unread_answers() const noexcept {
    return unread_answers_.load(std::memory_order_relaxed);
  }
  /// The I/O thread: back from its sleep. Takes no lock, as somebody may be writing under it.
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }

  /// The I/O thread: the broker said something. What follows is an answer rather than one more of a stream.
  void heard() noexcept { heard_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] Wakeup& wakeup() noexcept { return wakeup_; }

 private:
  template <typename Add>  // says whether there is more than before
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
  std::size_t answers_ = 0;        // bytes of them in pending_
  std::size_t taken_answers_ = 0;  // and in what the I/O thread took
  std::atomic<std::size_t> unread_answers_{0};
  // Set under the lock; cleared under it, or by the I/O thread, which looks into the outbox again before it
  // sleeps.
  std::atomic<bool> asleep_{false};
  std::atomic<bool> heard_{false};  // since the last direct write
  std::atomic<bool> broken_off_{false};
  std::chrono::steady_clock::time_point last_direct_{};
  Wakeup wakeup_;
};

}  // namespace warren::inline v0::engine
