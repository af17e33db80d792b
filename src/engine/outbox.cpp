#include "engine/outbox.hpp"

namespace warren::inline v0::engine {
namespace {

// After this long without a send, a bulk entry stands alone (measured in the prototype of the threading).
constexpr std::chrono::microseconds lone_after{50};
// A buffer that one large message blew up is not kept.
constexpr std::size_t kept_capacity = std::size_t{1} << 20;

}  // namespace

void Outbox::open(DirectWriter* writer) {
  const std::lock_guard lock(mutex_);
  writer_ = writer;
  pending_.clear();
  open_ = true;
  asleep_ = false;
}

void Outbox::close() {
  {
    const std::lock_guard lock(mutex_);
    open_ = false;
    writer_ = nullptr;
    Bytes().swap(pending_);
  }
  space_.notify_all();
}

void Outbox::appended(Entry entry, bool was_empty) {
  // Awake, it takes what is here before it sleeps; not empty, whoever came first has woken it.
  if (!asleep_ || !was_empty || pending_.empty()) return;
  if (writer_ != nullptr) {
    bool alone = entry != Entry::bulk;
    const auto now = std::chrono::steady_clock::now();
    if (!alone) alone = now - last_direct_ > lone_after;
    if (alone) {
      last_direct_ = now;
      const std::size_t written = writer_->write(pending_.data(), pending_.size());
      pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(written));
      if (pending_.empty()) return;
    }
  }
  asleep_ = false;
  wakeup_.wake();
}

bool Outbox::wait_for_space(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return space_.wait_until(lock, deadline, [&] { return !open_ || pending_.size() < bound_; });
}

bool Outbox::take(Bytes& out) {
  bool made_space = false;
  {
    const std::lock_guard lock(mutex_);
    if (pending_.empty()) {
      asleep_ = true;
      return false;
    }
    made_space = pending_.size() >= bound_;
    out.clear();
    if (out.capacity() > kept_capacity) Bytes().swap(out);
    out.swap(pending_);
    asleep_ = false;
  }
  if (made_space) space_.notify_all();
  return true;
}

void Outbox::awake() {
  const std::lock_guard lock(mutex_);
  asleep_ = false;
}

}  // namespace warren::inline v0::engine
