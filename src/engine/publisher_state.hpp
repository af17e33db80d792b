#pragma once

#include <cstdint>

namespace warren::inline v0::engine {

/// The state of a publisher's channel. CONTRIBUTING.md has a picture of the state machine.
enum class PublisherState : std::uint8_t {
  idle,          ///< no channel, and none is being opened: the next publish opens one
  opening,       ///< a caller opens a channel; other callers wait for it
  open,          ///< the channel is open, in confirm mode
  losing,        ///< the channel's connection is lost: on_closed() follows
  opening_lost,  ///< a caller opens a channel on a connection that was lost meanwhile: it usually fails
  lost,          ///< the recovery will open a channel; until then publishes wait in the window
  recovering,    ///< the recovery opens a channel
  reopening,     ///< the broker closed the channel; another one is opened after the close-ok
  closed,        ///< close() was called: no other state follows
};
inline constexpr int publisher_states = 9;

/// The events of a publisher's channel.
enum class PublisherEvent : std::uint8_t {
  open_begins,      ///< a caller begins to open a channel
  recovery_begins,  ///< the recovery begins to open a channel
  opened,           ///< a channel is open
  open_failed,      ///< the channel was not opened; another attempt may follow
  refused,          ///< the broker refuses the recovery's channel: no attempt follows
  connection_lost,  ///< the connection is lost and will be recovered
  /// The connection is open: a recovery is over. It may not have opened a channel for this publisher.
  connection_open,
  connection_ended,  ///< the connection ended and will not be recovered
  ended_by_loss,     ///< the channel ended with its connection, which will be recovered
  ended_by_broker,   ///< the broker closed the channel because of a publish
  ended,             ///< the channel ended, and nothing opens another one
  close_ok_sent,     ///< the close-ok was sent for the channel that the broker closed
  nothing_to_send,   ///< the recovery finds nothing to send
  closed,            ///< close() was called
};
inline constexpr int publisher_events = 14;

/// The state after an event. A pure function: no lock, no thread.
[[nodiscard]] PublisherState next(PublisherState state, PublisherEvent event) noexcept;

/// Whether there is a channel.
[[nodiscard]] constexpr bool has_channel(PublisherState state) noexcept {
  return state == PublisherState::open || state == PublisherState::losing;
}
/// Whether a thread is opening a channel, so that others wait for its outcome.
[[nodiscard]] constexpr bool is_opening(PublisherState state) noexcept {
  return state == PublisherState::opening || state == PublisherState::opening_lost ||
         state == PublisherState::recovering;
}
/// Whether the next channel is opened without a caller.
[[nodiscard]] constexpr bool comes_by_itself(PublisherState state) noexcept {
  return state == PublisherState::losing || state == PublisherState::opening_lost ||
         state == PublisherState::lost || state == PublisherState::recovering ||
         state == PublisherState::reopening;
}

}  // namespace warren::inline v0::engine
