#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include <warren/delivery.hpp>

namespace warren::inline v0 {

/// Records how a delivery of Delivery::for_test was settled. Thread-safe.
class Delivery::TestRecord {
 public:
  /// Records the settlement.
  /// @throws InvalidArgument  the delivery was settled before
  void settle(Settlement settlement, std::uint64_t delivery_tag);
  [[nodiscard]] std::optional<Settlement> settled() const noexcept;

  void share() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  /// Releases a reference.
  /// @returns whether that was the last reference
  [[nodiscard]] bool release() noexcept { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  static constexpr int unsettled = -1;

  std::atomic<std::uint32_t> references_{1};
  std::atomic<int> settlement_{unsettled};
};

}  // namespace warren::inline v0
