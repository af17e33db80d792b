#pragma once

#include <cstdint>
#include <string_view>

namespace warren::inline v0::wire {

/// Whether connection.close with this code means that trying the same again can't help.
[[nodiscard]] bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether a channel was closed for a queue that is there, on a node of the cluster that is down.
[[nodiscard]] bool is_node_down(std::uint16_t code, std::string_view text) noexcept;

}  // namespace warren::inline v0::wire
