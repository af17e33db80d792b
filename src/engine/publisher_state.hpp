#pragma once

#include <cstdint>

namespace warren::inline v0::engine {

/// What a publisher's channel does. CONTRIBUTING.md has the picture.
enum class PublisherState : std::uint8_t {
  idle,          ///< no channel, and none comes: the next publish opens one
  opening,       ///< a caller opens one; the others wait for it
  open,          ///< a channel in confirm mode
  losing,        ///< a channel whose connection is lost: on_closed() follows
  opening_lost,  ///< a caller opens one on a connection that was lost meanwhile: it fails, mostly
  lost,          ///< the connection's recovery opens the next one; publishes wait in the window
  recovering,    ///< the recovery opens one
  reopening,     ///< the broker closed the channel; the next one follows its close-ok
  closed,        ///< by close(): nothing follows
};
inline constexpr int publisher_states = 9;

/// What happens to it.
enum class PublisherEvent : std::uint8_t {
  open_begins,       ///< a caller begins to open a channel
  recovery_begins,   ///< the recovery begins to open a channel
  opened,            ///< a channel is open
  open_failed,       ///< no channel came of it; another try may follow
  refused,           ///< the broker refuses the recovery's channel: no try follows
  connection_lost,   ///< and will be recovered
  connection_open,   ///< the connection is open: a recovery is over, and may have passed this one by
  connection_ended,  ///< and will not be recovered
  ended_by_loss,     ///< the channel ended with its connection, which will be recovered
  ended_by_broker,   ///< the broker closed the channel over a publish
  ended,             ///< the channel ended, and nothing brings another one
  close_ok_sent,     ///< the close-ok of the channel that the broker closed is on its way
  nothing_to_send,   ///< the recovery finds nothing to send
  closed,            ///< close()
};
inline constexpr int publisher_events = 14;

/// The state after an event. A plain value: no lock, no thread.
[[nodiscard]] PublisherState next(PublisherState state, PublisherEvent event) noexcept;

/// Whether there is a channel.
[[nodiscard]] constexpr bool has_channel(PublisherState state) noexcept {
  return state == PublisherState::open || state == PublisherState::losing;
}
/// Whether somebody is opening a channel, so that others wait for its outcome.
[[nodiscard]] constexpr bool is_opening(PublisherState state) noexcept {
  return state == PublisherState::opening || state == PublisherState::opening_lost ||
         state == PublisherState::recovering;
}
/// Whether the next channel comes without a caller's doing.
[[nodiscard]] constexpr bool comes_by_itself(PublisherState state) noexcept {
  return state == PublisherState::losing || state == PublisherState::opening_lost ||
         state == PublisherState::lost || state == PublisherState::recovering ||
         state == PublisherState::reopening;
}

}  // namespace warren::inline v0::engine
