#pragma once

#include <string>
#include <vector>

#include <warren/parking_lot.hpp>

#include "engine/topology.hpp"

namespace warren::inline v0::parking {

/// Decides which messages a replay may send, because any publisher may have written the headers that name
/// their queue.
///
/// It refers to the topology and to the parked queue's name. Both must outlive it.
class Admission {
 public:
  /// @param lot      the name of the parked queue
  /// @param allowed  the current or earlier names of the queues that a replay may send to; empty means none
  Admission(const engine::Topology& topology, const std::string& lot, std::vector<std::string> allowed);

  /// Why a message stays parked, or empty if it may be sent.
  [[nodiscard]] std::string refusal(const ParkedMessage& message) const;

 private:
  const engine::Topology& topology_;
  const std::string& lot_;
  const std::vector<std::string> allowed_;
  std::vector<std::string> current_;  // the current names; a recovery renames queues that the broker named
};

/// The queues that are known to park their messages in `lot`: the queue that `lot` is named after (see
/// RetryPolicy::parked_queue), and those that the topology knows.
[[nodiscard]] std::vector<std::string> known_queues(const engine::Topology& topology, const std::string& lot);

}  // namespace warren::inline v0::parking
