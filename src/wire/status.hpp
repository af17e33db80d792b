#pragma once

#include <cstdint>
#include <string_view>

/// @file
/// What the broker's reply codes mean for another try. No other file decides which of them are permanent.
namespace warren::inline v0::wire {

/// Whether connection.close with this code is permanent: the next connection would get the same answer.
[[nodiscard]] bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether channel.close with this code is permanent: the same call on another channel would get the same
/// answer.
[[nodiscard]] bool is_permanent_channel_close(std::uint16_t code, std::string_view text) noexcept;
/// Whether the code refuses a login for its user, its password or its virtual host.
[[nodiscard]] bool is_refused_login(std::uint16_t code) noexcept;
/// Whether a connection that is closed with this code while it recovers would be closed so again and again,
/// by what the recovery itself asks for. Of the other permanent codes the next login tells.
[[nodiscard]] bool ends_recovery(std::uint16_t code) noexcept;

}  // namespace warren::inline v0::wire
