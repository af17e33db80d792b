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

/// Whether Output refers to these frames, instead of copying them.
[[nodiscard]] inline bool is_referred_to(const ContentFrames& frames) noexcept {
  constexpr std::size_t large = std::size_t{64} << 10;
  return frames.body || frames.size() >= large;
}

/// The output, in order. Small frames are copied into one buffer; large frames are referred to, since copying
/// them costs as much as sending them. It is written from the front.
class Output {
 public:
  /// The chunks of one write.
  using Chunks = std::array<std::string_view, 16>;

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() + referred_ - taken_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// The buffer to append to.
  [[nodiscard]] Bytes& bytes() noexcept { return bytes_; }
  /// Reserves memory, so that add() does not throw.
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

  /// Fills `out` from the front with contiguous chunks, and returns their number.
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
  /// Counts `size` bytes, at most size(), as written. clear() releases the references to frames.
  void advance(std::size_t size) noexcept {
    taken_ += size;
    while (size != 0) {
      const std::size_t step = std::min(size, chunk(front_).size());
      pass(front_, step);
      size -= step;
    }
  }

  /// Drops the whole content. Must be called under the lock of the threads that check whether frames are
  /// still referred to: a reference count alone does not order earlier reads before later writes. Keeps at
  /// most `capacity` bytes of memory for later use.
  void clear(std::size_t capacity) noexcept {
    bytes_.clear();
    if (bytes_.capacity() > capacity) Bytes().swap(bytes_);
    try {
      if (bytes_.capacity() < capacity) bytes_.reserve(capacity);  // untouched memory costs nothing
    } catch (...) {  // no memory now: the buffer grows when needed
    }
    references_.clear();
    referred_ = taken_ = 0;
    front_ = {};
  }

 private:
  struct Reference {
    std::size_t at;  // offset in bytes_ at which the frames are inserted
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
  // `size` is at most the size of chunk(place).
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
  std::size_t referred_ = 0;  // bytes of the frames in references_
  std::size_t taken_ = 0;     // bytes already written, copied or referred to
  Place front_;
};

}  // namespace warren::inline v0::engine
