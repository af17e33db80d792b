#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace warren::inline v0::engine {

using Bytes = std::vector<char>;

/// What goes out, in order: small frames by value, side by side, and large ones by reference, as copying
/// those costs as much as sending them. Written from the front, chunk by chunk.
class Output {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() + referred_ - taken_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// To append to.
  [[nodiscard]] Bytes& bytes() noexcept { return bytes_; }
  /// So that add() doesn't throw.
  void make_room_for(const Bytes& frames) {
    if (frames.size() >= large) {
      reserve(references_, references_.size() + 1);
    } else {
      reserve(bytes_, bytes_.size() + frames.size());
    }
  }
  /// Copies small frames, and refers to large ones until they are written.
  void add(const std::shared_ptr<const Bytes>& frames) noexcept {
    if (frames->size() >= large) {
      references_.push_back({bytes_.size(), frames});
      referred_ += frames->size();
    } else {
      bytes_.insert(bytes_.end(), frames->begin(), frames->end());
    }
  }

  /// From the front, as much as lies together; empty where nothing is left.
  [[nodiscard]] std::string_view chunk() const noexcept {
    if (next_ < references_.size() && references_[next_].at == from_bytes_) {
      const Bytes& frames = *references_[next_].frames;
      return {frames.data() + from_reference_, frames.size() - from_reference_};
    }
    const std::size_t end = next_ < references_.size() ? references_[next_].at : bytes_.size();
    return {bytes_.data() + from_bytes_, end - from_bytes_};
  }
  /// `size` bytes of that chunk were written.
  void advance(std::size_t size) noexcept {
    taken_ += size;
    if (next_ == references_.size() || references_[next_].at != from_bytes_) {
      from_bytes_ += size;
      return;
    }
    from_reference_ += size;
    if (from_reference_ < references_[next_].frames->size()) return;
    references_[next_++].frames.reset();
    from_reference_ = 0;
  }

  /// Keeps no more than `capacity` bytes to use again.
  void clear(std::size_t capacity) {
    bytes_.clear();
    if (bytes_.capacity() > capacity) Bytes().swap(bytes_);
    if (bytes_.capacity() < capacity) bytes_.reserve(capacity);  // what is never touched costs nothing
    references_.clear();
    referred_ = taken_ = next_ = from_bytes_ = from_reference_ = 0;
  }

 private:
  static constexpr std::size_t large = std::size_t{64} << 10;

  struct Reference {
    std::size_t at;  // ahead of this one of bytes_
    std::shared_ptr<const Bytes> frames;
  };

  template <typename Vector>
  static void reserve(Vector& vector, std::size_t size) {
    if (vector.capacity() < size) vector.reserve(std::max(2 * vector.capacity(), size));
  }

  Bytes bytes_;
  std::vector<Reference> references_;
  std::size_t referred_ = 0;  // bytes by reference
  std::size_t taken_ = 0;     // bytes of either kind
  std::size_t next_ = 0;      // of references_
  std::size_t from_bytes_ = 0;
  std::size_t from_reference_ = 0;
};

}  // namespace warren::inline v0::engine
