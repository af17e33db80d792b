#include "parking/admission.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "retry/topology.hpp"

namespace warren::inline v0::parking {

using namespace retry;

Admission::Admission(const engine::Topology& topology, const std::string& lot,
                     std::vector<std::string> allowed)
    : topology_(topology), lot_(lot), allowed_(std::move(allowed)) {
  for (const std::string& queue : allowed_) current_.push_back(topology_.current_name(queue));
}

std::string Admission::refusal(const ParkedMessage& message) const {
  if (!message.fault.empty()) return "its properties can't be read: " + message.fault;
  if (message.queue.empty()) return "its headers do not say which queue it failed in";
  if (message.queue == lot_) return "its headers name the parking lot as the queue it failed in";
  if (allowed_.empty()) {
    return "it is not known which queues this parking lot is for: name those that a replay may send to in "
           "ParkingLotOptions::allowed_queues";
  }
  if (std::ranges::find(current_, topology_.current_name(message.queue)) != current_.end()) return {};
  constexpr std::size_t most_named = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(allowed_.size(), most_named); ++i)
    names += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", allowed_[i]);
  if (allowed_.size() > most_named) names += fmt::format(" and {} others", allowed_.size() - most_named);
  return fmt::format(
      "its headers, which any publisher may write, name a queue that is not allowed; a replay sends to {}. "
      "Add it to ParkingLotOptions::allowed_queues if you trust the message",
      names);
}

std::vector<std::string> known_queues(const engine::Topology& topology, const std::string& lot) {
  std::vector<std::string> known = topology.parked_in(lot);
  if (lot.size() > parked_suffix.size() && lot.ends_with(parked_suffix))
    known.push_back(lot.substr(0, lot.size() - parked_suffix.size()));
  std::ranges::sort(known);
  known.erase(std::unique(known.begin(), known.end()), known.end());
  return known;
}

}  // namespace warren::inline v0::parking
