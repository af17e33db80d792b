#pragma once

#include <array>
#include <cstdint>

namespace warren::inline v0::engine {

/// A subscription and its channel.
enum class SubscriptionLink : std::uint8_t {
  opening,        ///< the first channel, or basic.consume on a channel that is open: an error ends it
  subscribed,     ///< the broker sends deliveries
  unsubscribing,  ///< basic.cancel is on its way
  unsubscribed,   ///< the channel is open, and nothing is consumed: paused
  cancelled,      ///< the broker cancelled the subscription (basic.cancel), and its channel is not left yet
  lost,           ///< the channel is gone, and another one is not open yet
  reopening,      ///< another channel is being opened: its errors are the opener's to judge
  ending,         ///< for good
};

/// Whether workers take deliveries, and whether the watcher is to look (Subscription::wait).
enum class SubscriptionPause : std::uint8_t {
  none,    ///< workers take
  asked,   ///< workers do not take; the watcher has not seen it
  heeded,  ///< workers do not take; the watcher has seen it
  lifted,  ///< workers take; the watcher has not seen that somebody asked
};

/// All that a Subscription is at a moment.
struct SubscriptionState {
  SubscriptionLink link = SubscriptionLink::opening;
  SubscriptionPause pause = SubscriptionPause::none;

  /// Whether workers do not take.
  [[nodiscard]] constexpr bool is_paused() const noexcept {
    return pause == SubscriptionPause::asked || pause == SubscriptionPause::heeded;
  }
  /// Whether the watcher is to look at the pause.
  [[nodiscard]] constexpr bool is_woken() const noexcept {
    return pause == SubscriptionPause::asked || pause == SubscriptionPause::lifted;
  }
  /// Whether the watcher is to open another channel.
  [[nodiscard]] constexpr bool is_to_reopen() const noexcept {
    return link == SubscriptionLink::lost || link == SubscriptionLink::cancelled;
  }
  friend constexpr bool operator==(const SubscriptionState&, const SubscriptionState&) = default;
};

/// What happens to a subscription.
enum class SubscriptionEvent : std::uint8_t {
  open,              ///< its first channel is to be opened
  reopen,            ///< another channel is to be opened
  opened,            ///< the channel is open, with its prefetch
  subscribed,        ///< basic.consume-ok
  hold,              ///< no worker is to take, and the watcher is to see to it
  noticed,           ///< the watcher has seen that
  pause,             ///< the watcher unsubscribes
  unsubscribed,      ///< basic.cancel-ok
  resume,            ///< the watcher subscribes again
  given_up,          ///< the watcher left the channel, or could not open one
  lost,              ///< the channel is gone, and another one takes its place
  refused,           ///< the broker closed the channel over an error
  connection_ended,  ///< the channel is gone with its connection, which will not be open again
  cancelled,         ///< basic.cancel came from the broker
  end,               ///< somebody ends it
};

/// What the caller of next() is to do.
enum class SubscriptionAction : std::uint8_t {
  none,
  subscribe,    ///< send basic.consume
  unsubscribe,  ///< send basic.cancel
  end,          ///< end the subscription with the error that the event came with
};

/// Every value of each, for whoever goes through them.
inline constexpr std::array subscription_links{
    SubscriptionLink::opening,      SubscriptionLink::subscribed, SubscriptionLink::unsubscribing,
    SubscriptionLink::unsubscribed, SubscriptionLink::cancelled,  SubscriptionLink::lost,
    SubscriptionLink::reopening,    SubscriptionLink::ending};
inline constexpr std::array subscription_pauses{SubscriptionPause::none, SubscriptionPause::asked,
                                                SubscriptionPause::heeded, SubscriptionPause::lifted};
inline constexpr std::array subscription_events{SubscriptionEvent::open,
                                                SubscriptionEvent::reopen,
                                                SubscriptionEvent::opened,
                                                SubscriptionEvent::subscribed,
                                                SubscriptionEvent::hold,
                                                SubscriptionEvent::noticed,
                                                SubscriptionEvent::pause,
                                                SubscriptionEvent::unsubscribed,
                                                SubscriptionEvent::resume,
                                                SubscriptionEvent::given_up,
                                                SubscriptionEvent::lost,
                                                SubscriptionEvent::refused,
                                                SubscriptionEvent::connection_ended,
                                                SubscriptionEvent::cancelled,
                                                SubscriptionEvent::end};

/// Where an event leads, and what is to be done.
struct SubscriptionTransition {
  SubscriptionState state{};
  SubscriptionAction action = SubscriptionAction::none;

  friend constexpr bool operator==(const SubscriptionTransition&, const SubscriptionTransition&) = default;
};

/// The whole life of a subscription; CONTRIBUTING.md has a picture of it. An event that means nothing in a
/// state changes nothing.
[[nodiscard]] SubscriptionTransition next(SubscriptionState state, SubscriptionEvent event) noexcept;

}  // namespace warren::inline v0::engine
