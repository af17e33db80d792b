#include "support/cluster.hpp"

#include <algorithm>
#include <stdexcept>

namespace support {

Cluster::Cluster() : shared_(new_broker_folder("warren-cluster")) {
  std::string first;
  for (std::size_t i = 0; i < size; ++i) {
    nodes_.push_back(std::make_unique<PrivateBroker>("", shared_));
    const PrivateBroker& node = *nodes_.back();
    if (i == 0) {
      first = node.ctl({"eval", "node()."});
      std::erase_if(first, [](char c) { return c == '\'' || c == '\n'; });
      continue;
    }
    node.ctl({"stop_app"});
    node.ctl({"join_cluster", first});
    node.ctl({"start_app"});
  }
}

Cluster::~Cluster() {
  nodes_.clear();
  end_broker_folder(shared_);
}

std::vector<warren::Endpoint> Cluster::endpoints() const {
  std::vector<warren::Endpoint> endpoints;
  for (const auto& node : nodes_) endpoints.push_back(node->endpoint());
  return endpoints;
}

bool Cluster::is_whole(std::chrono::milliseconds within) {
  return eventually(
      [&] {
        try {
          for (const auto& node : nodes_) {
            if (contains(node->ctl({"eval", "length(rabbit_nodes:all_running())."}), std::to_string(size)))
              continue;
            return false;
          }
          for (const auto& row : nodes_.front()->list({"list_queues", "type", "online"})) {
            const auto commas = std::count(row.at(1).begin(), row.at(1).end(), ',');
            if (row.at(0) == "quorum" && commas + 1 < static_cast<std::ptrdiff_t>(size)) return false;
          }
          return true;
        } catch (const std::exception&) {  // a node that is not there yet
          return false;
        }
      },
      within);
}

}  // namespace support
