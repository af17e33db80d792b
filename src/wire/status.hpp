#pragma once

#include <cstdint>
#include <string_view>

/// @file
/// Which of the broker's reply codes are permanent errors. No other file decides that.
namespace warren::inline v0::wire {

/// Whether connection.close with this code is permanent: the next connection would get this answer again.
[[nodiscard]] bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether channel.close with this code is permanent: a repeated call on another channel would get this
/// answer again.
[[nodiscard]] bool is_permanent_channel_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether the code refuses a login because of its user, password or virtual host.
[[nodiscard]] bool is_refused_login(std::uint16_t code) noexcept;
/// Whether a close with this code during recovery would happen again in each attempt, because of the
/// recovery's own requests. For the other permanent codes, the next login shows whether they persist.
[[nodiscard]] bool ends_recovery(std::uint16_t code) noexcept;

}  // namespace warren::inline v0::wire
