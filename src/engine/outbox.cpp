#include "engine/outbox.hpp"

#include <utility>

namespace warren::inline v0::engine {
namespace {

// After this long without a send, a bulk entry stands alone (measured in the prototype of the threading).
constexpr std::chrono::microseconds lone_after{50};
// Beyond the bound: the entry that is admitted whole. A buffer that a larger one blew up is not kept.
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
  // Awake, it takes what is here before it sleeps; not empty, the first writer has woken it.
  if (!asleep_.load(std::memory_order_relaxed) || !was_empty || pending_.empty()) return;
  if (writer_ != nullptr && may_write_now(entry) && write_now()) return;
  asleep_.store(false, std::memory_order_relaxed);
  wakeup_.wake();
}

// One message alone is fastest if its own thread writes it. Of many, the I/O thread writes a batch at once.
bool Outbox::may_write_now(Entry entry) noexcept {
  const auto now = std::chrono::steady_clock::now();
  const bool alone =
      entry != Entry::bulk || heard_.load(std::memory_order_relaxed) || now - last_direct_ > lone_after;
  if (!alone) return false;
  last_direct_ = now;
  heard_.store(false, std::memory_order_relaxed);
  return true;
}

// False if the socket did not take all of it: the rest is the I/O thread's.
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
  const std::lock_guard lock(mutex_);  // as in take()
  out.clear(bound_ + slack);
}

// A thread that wrote past it may not have counted it yet: the lock is held until that is done.
bool Outbox::is_written(std::uint64_t end) {
  if (written_.load(std::memory_order_relaxed) >= end) return true;
  const std::lock_guard lock(mutex_);
  return written_.load(std::memory_order_relaxed) >= end;
}

bool Outbox::take(Output& out) noexcept {
  bool made_space = false;
  {
    const std::lock_guard lock(mutex_);
    out.clear(bound_ + slack);  // under the lock: whose frames were referred to sees here that they are free
    taken_answers_ = answers_;  // what was taken before is written
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
