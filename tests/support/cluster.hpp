#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <warren/uri.hpp>

#include "support/broker.hpp"

namespace support {

/// Three clustered nodes on loopback, to be killed one after the other. Takes half a minute to start.
class Cluster {
 public:
  static constexpr std::size_t size = 3;

  Cluster();
  /// Ends the nodes and deletes their folders.
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] PrivateBroker& node(std::size_t index) { return *nodes_.at(index); }
  [[nodiscard]] std::vector<warren::Endpoint> endpoints() const;
  /// Waits until every node runs, and every quorum queue has a member online on each.
  [[nodiscard]] bool is_whole(std::chrono::milliseconds within = std::chrono::minutes(2));

 private:
  std::string shared_;  // the folder of their cookie and epmd
  std::vector<std::unique_ptr<PrivateBroker>> nodes_;
};

}  // namespace support
