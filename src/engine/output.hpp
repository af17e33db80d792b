#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "wire/frame.hpp"

namespace warren::inline v0::engine {

using wire::Bytes;
using wire::ContentFrames;

/// Whether Output refers to frames, rather than copying them.
[[nodiscard]] inline bool is_referred_to(const ContentFrames& frames) noexcept {
  constexpr std::size_t large = std::size_t{64} << 10;
  return frames.body || frames.size() >= large;
}

/// What goes out, in order: small frames by value, side by side, and large ones by reference, as copying
/// those costs as much as sending them. Written from the front.
class Output {
 public:
  /// To fill for one write.
  using Chunks = std::array<std::string_view, 16>;

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() + referred_ - taken_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// To append to.
  [[nodiscard]] Bytes& bytes() noexcept { return bytes_; }
  /// So that add() doesn't throw.
  void make_room_for(const ContentFrames& frames) {
    if (is_referred_to(frames)) {
      reserve(references_, references_.size() + 1);
    } else {
      reserve(bytes_, bytes_.size() + frames.size());
    }
  }
  /// Copies small frames, and refers to large ones until they are written.
  void add(const ContentFrames& frames) noexcept {
    if (is_referred_to(frames)) {
      references_.push_back({bytes_.size(), frames});
      referred_ += frames.size();
    } else {
      bytes_.insert(bytes_.end(), frames.bytes->begin(), frames.bytes->end());
    }
  }

  /// From the front, each as much as lies together; how many of them there are.
  std::size_t chunks(Chunks& out) const noexcept {
    std::size_t count = 0;
    Place place = front_;
    for (; count < out.size(); ++count) {
      out[count] = chunk(place);
      if (out[count].empty()) break;
      pass(place, out[count].size());
    }
    return count;
  }
  /// `size` bytes, at most size(), were written. What was referred to is let go of by clear().
  void advance(std::size_t size) noexcept {
    taken_ += size;
    while (size != 0) {
      const std::size_t step = std::min(size, chunk(front_).size());
      pass(front_, step);
      size -= step;
    }
  }

  /// Drops all that is in it. Under the lock of those who look whether frames are still referred to: a count
  /// alone does not order what was read before it. Keeps no more than `capacity` bytes to use again.
  void clear(std::size_t capacity) noexcept {
    bytes_.clear();
    if (bytes_.capacity() > capacity) Bytes().swap(bytes_);
    try {
      if (bytes_.capacity() < capacity) bytes_.reserve(capacity);  // what is never touched costs nothing
    } catch (...) {  // no memory for it now: it grows when it is needed
    }
    references_.clear();
    referred_ = taken_ = 0;
    front_ = {};
  }

 private:
  struct Reference {
    std::size_t at;  // before this byte of bytes_
    ContentFrames frames;
  };
  struct Place {
    std::size_t reference = 0;  // the next one
    std::size_t in_bytes = 0;
    std::size_t in_reference = 0;
  };

  [[nodiscard]] bool at_reference(const Place& place) const noexcept {
    return place.reference < references_.size() && references_[place.reference].at == place.in_bytes;
  }
  // Empty if nothing is left.
  [[nodiscard]] std::string_view chunk(const Place& place) const noexcept {
    if (at_reference(place)) return references_[place.reference].frames.chunk(place.in_reference);
    const std::size_t end =
        place.reference < references_.size() ? references_[place.reference].at : bytes_.size();
    return {bytes_.data() + place.in_bytes, end - place.in_bytes};
  }
  // `size` is at most that chunk's.
  void pass(Place& place, std::size_t size) const noexcept {
    if (!at_reference(place)) {
      place.in_bytes += size;
      return;
    }
    place.in_reference += size;
    if (place.in_reference < references_[place.reference].frames.size()) return;
    ++place.reference;
    place.in_reference = 0;
  }
  template <typename Vector>
  static void reserve(Vector& vector, std::size_t size) {
    if (vector.capacity() < size) vector.reserve(std::max(2 * vector.capacity(), size));
  }

  Bytes bytes_;
  std::vector<Reference> references_;
  std::size_t referred_ = 0;  // bytes by reference
  std::size_t taken_ = 0;     // bytes of either kind
  Place front_;
};

}  // namespace warren::inline v0::engine
