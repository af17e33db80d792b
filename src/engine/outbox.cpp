#include "engine/outbox.hpp"

#include <utility>

namespace warren::inline v0::engine {
namespace {

// If nothing was sent for this long, a bulk entry is written at once (measured in the threading prototype).
constexpr std::chrono::microseconds lone_after{50};
// The memory kept beyond the bound, for the entry that is admitted whole. A buffer that grew larger is freed.
constexpr std::size_t slack = std::size_t{128} << 10;

}  // namespace

void Outbox::open(DirectWriter* writer) noexcept {
  const std::lock_guard lock(mutex_);
  writer_ = writer;
  pending_.clear(bound_ + slack);
  passed_ = 0;
  written_.store(0, std::memory_order_relaxed);
  taken_answers_ = 0;
  count_answers(0);
  open_ = true;
  asleep_.store(false, std::memory_order_relaxed);
  broken_off_.store(false, std::memory_order_relaxed);
}

void Outbox::close() noexcept {
  {
    const std::lock_guard lock(mutex_);
    open_ = false;
    writer_ = nullptr;
    pending_ = Output();
  }
  space_.notify_all();
}

void Outbox::appended(Entry entry, bool was_empty) noexcept {
  // If the I/O thread is awake, it takes the entry before it sleeps. If the outbox was not empty, the first
  // writer has woken the thread.
  if (!asleep_.load(std::memory_order_relaxed) || !was_empty || pending_.empty()) return;
  if (writer_ != nullptr && may_write_now(entry) && write_now()) return;
  asleep_.store(false, std::memory_order_relaxed);
  wakeup_.wake();
}

// A single message is fastest if its own thread writes it. Many messages are fastest if the I/O thread writes
// them in a batch.
bool Outbox::may_write_now(Entry entry) noexcept {
  const auto now = std::chrono::steady_clock::now();
  const bool alone =
      entry != Entry::bulk || heard_.load(std::memory_order_relaxed) || now - last_direct_ > lone_after;
  if (!alone) return false;
  last_direct_ = now;
  heard_.store(false, std::memory_order_relaxed);
  return true;
}

// False if the socket did not take all bytes: the I/O thread writes the rest.
bool Outbox::write_now() noexcept {
  Output::Chunks chunks;
  const std::size_t count = pending_.chunks(chunks);
  const std::size_t written = writer_->write({chunks.data(), count});
  pending_.advance(written);
  passed_ += written;
  written_.fetch_add(written, std::memory_order_relaxed);
  if (!pending_.empty()) return false;
  count_answers(0);
  pending_.clear(bound_ + slack);
  return true;
}

bool Outbox::wait_for_space(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return space_.wait_until(lock, deadline, [&] { return !open_ || pending_.size() < bound_; });
}

void Outbox::discard(Output& out) {
  const std::lock_guard lock(mutex_);  // under the lock, like take()
  out.clear(bound_ + slack);
}

// The writing thread may not have counted its bytes yet. It holds the lock until it has, so this function
// waits for the lock.
bool Outbox::is_written(std::uint64_t end) {
  if (written_.load(std::memory_order_relaxed) >= end) return true;
  const std::lock_guard lock(mutex_);
  return written_.load(std::memory_order_relaxed) >= end;
}

bool Outbox::take(Output& out) noexcept {
  bool made_space = false;
  {
    const std::lock_guard lock(mutex_);
    // Under the lock, so that a thread that checks its frames sees here that they are free.
    out.clear(bound_ + slack);
    taken_answers_ = answers_;  // the earlier output was written
    count_answers(0);
    if (pending_.empty()) {
      asleep_.store(true, std::memory_order_relaxed);
      return false;
    }
    passed_ += pending_.size();
    made_space = pending_.size() >= bound_;
    std::swap(out, pending_);
    asleep_.store(false, std::memory_order_relaxed);
  }
  if (made_space) space_.notify_all();
  return true;
}

}  // namespace warren::inline v0::engine
