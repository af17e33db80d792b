#include "wire/status.hpp"

namespace warren::inline v0::wire {

// 403: credentials; 530: virtual host; 402: path; 503: unknown exchange type; 540: not for this kind of
// queue. 320 (forced close) and most of 541 (internal error) pass with time, but not a feature that the
// broker denies. So does a limit (530 too) of connections or channels: the broker may still count the ones
// that were just lost.
bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept {
  const auto says = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  if (code == 541) return says("deprecated") || says("not permitted");
  if (code == 530) return !says("limit (") && !says("reached the maximum");
  return code == 402 || code == 403 || code == 503 || code == 540;
}

bool is_node_down(std::uint16_t code, std::string_view text) noexcept {
  return code == 404 && text.find("down or inaccessible") != std::string_view::npos;
}

}  // namespace warren::inline v0::wire
