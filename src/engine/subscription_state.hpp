#pragma once

#include <array>
#include <cstdint>

namespace warren::inline v0::engine {

/// The state of a subscription and its channel.
enum class SubscriptionLink : std::uint8_t {
  /// The first channel is being opened, or basic.consume is in flight on an open channel. An error ends the
  /// subscription.
  opening,
  subscribed,     ///< the broker sends deliveries
  unsubscribing,  ///< basic.cancel is in flight
  unsubscribed,   ///< the channel is open, and the subscription is paused
  cancelled,      ///< the broker sent basic.cancel, and the channel is not closed yet
  lost,           ///< the channel is gone, and no other one is open yet
  reopening,      ///< another channel is being opened; open_again() handles its errors
  ending,         ///< the subscription has ended, permanently
};

/// Whether workers take deliveries, and whether the watcher must react (Subscription::wait).
enum class SubscriptionPause : std::uint8_t {
  none,    ///< workers take deliveries
  asked,   ///< workers do not take deliveries; the watcher has not noticed it yet
  heeded,  ///< workers do not take deliveries; the watcher has noticed it
  lifted,  ///< workers take deliveries; the watcher has not noticed that a hold was asked for
};

/// The whole state of a Subscription. It is aligned as one integer, so that std::atomic needs no library:
/// clang calls libatomic for a type that is less aligned than its size.
struct alignas(2) SubscriptionState {
  SubscriptionLink link = SubscriptionLink::opening;
  SubscriptionPause pause = SubscriptionPause::none;

  /// Whether workers must not take deliveries.
  [[nodiscard]] constexpr bool is_paused() const noexcept {
    return pause == SubscriptionPause::asked || pause == SubscriptionPause::heeded;
  }
  /// Whether the watcher must react to the pause.
  [[nodiscard]] constexpr bool is_woken() const noexcept {
    return pause == SubscriptionPause::asked || pause == SubscriptionPause::lifted;
  }
  /// Whether the watcher must open another channel.
  [[nodiscard]] constexpr bool is_to_reopen() const noexcept {
    return link == SubscriptionLink::lost || link == SubscriptionLink::cancelled;
  }
  friend constexpr bool operator==(const SubscriptionState&, const SubscriptionState&) = default;
};

/// The events of a subscription.
enum class SubscriptionEvent : std::uint8_t {
  open,              ///< the watcher begins to open the first channel
  reopen,            ///< the watcher begins to open another channel
  opened,            ///< the channel is open, and its prefetch is set
  subscribed,        ///< basic.consume-ok arrived
  hold,              ///< workers must not take deliveries, and the watcher must react
  noticed,           ///< the watcher has noticed the hold
  pause,             ///< the watcher unsubscribes
  unsubscribed,      ///< basic.cancel-ok arrived
  resume,            ///< the watcher subscribes again
  given_up,          ///< the watcher closed the channel, or could not open one
  lost,              ///< the channel is gone, and another one replaces it
  refused,           ///< the broker closed the channel because of an error
  connection_ended,  ///< the channel is gone with its connection, which will not be open again
  cancelled,         ///< the broker sent basic.cancel
  end,               ///< the program or an error ends the subscription
};

/// The action that the caller of next() must take.
enum class SubscriptionAction : std::uint8_t {
  none,
  subscribe,    ///< send basic.consume
  unsubscribe,  ///< send basic.cancel
  end,          ///< end the subscription with the error of the event
};

/// All values of each enum, for code that iterates over them.
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

/// The next state after an event, and the action that the caller must take.
struct SubscriptionTransition {
  SubscriptionState state{};
  SubscriptionAction action = SubscriptionAction::none;

  friend constexpr bool operator==(const SubscriptionTransition&, const SubscriptionTransition&) = default;
};

/// The state machine of a subscription; CONTRIBUTING.md has a picture of it. An event that has no meaning in
/// a state changes nothing.
[[nodiscard]] SubscriptionTransition next(SubscriptionState state, SubscriptionEvent event) noexcept;

}  // namespace warren::inline v0::engine
