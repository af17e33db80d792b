#pragma once

#include <string>
#include <vector>

#include <warren/parking_lot.hpp>

#include "engine/topology.hpp"

namespace warren::inline v0::parking {

/// Which messages a replay may send back, by what their headers say, which any publisher may have written.
/// Refers to the topology and to the name of the parking lot.
class Admission {
 public:
  /// @param lot      the parked queue
  /// @param allowed  the queues that a replay may send to, by names of now or before; empty: none
  Admission(const engine::Topology& topology, const std::string& lot, std::vector<std::string> allowed);

  /// Why a message stays parked; empty if it may go.
  [[nodiscard]] std::string refusal(const ParkedMessage& message) const;

 private:
  const engine::Topology& topology_;
  const std::string& lot_;
  const std::vector<std::string> allowed_;
  std::vector<std::string> current_;  // their names of now: a recovery renames what the broker named
};

/// The queues that are known to park in a queue: the one that it has its name from (see
/// RetryPolicy::parked_queue), and those that the topology knows of.
[[nodiscard]] std::vector<std::string> known_queues(const engine::Topology& topology, const std::string& lot);

}  // namespace warren::inline v0::parking
