#include "engine/subscription_state.hpp"

namespace warren::inline v0::engine {
namespace {

using Link = SubscriptionLink;
using Pause = SubscriptionPause;
using Event = SubscriptionEvent;
using Action = SubscriptionAction;

Pause after(Pause pause, Event event) noexcept {
  const bool unseen = pause == Pause::asked || pause == Pause::lifted;
  const bool paused = pause == Pause::asked || pause == Pause::heeded;
  switch (event) {
    case Event::hold:
      return Pause::asked;
    case Event::noticed:
      return paused ? Pause::heeded : Pause::none;
    case Event::pause:
      return unseen ? Pause::asked : Pause::heeded;
    case Event::resume:
      return unseen ? Pause::lifted : Pause::none;
    default:
      return pause;
  }
}

}  // namespace

SubscriptionTransition next(SubscriptionState state, SubscriptionEvent event) noexcept {
  const Link link = state.link;
  if (link == Link::ending) return {state, Action::none};
  state.pause = after(state.pause, event);
  const SubscriptionTransition stays{state, Action::none};
  const auto to = [&](Link where, Action action = Action::none) {
    return SubscriptionTransition{{where, state.pause}, action};
  };
  const bool begins = link == Link::opening || link == Link::reopening;
  switch (event) {
    case Event::open:
      return link == Link::lost ? to(Link::opening) : stays;
    case Event::reopen:
      return state.is_to_reopen() ? to(Link::reopening) : stays;
    case Event::opened:
      if (!begins) return stays;
      return state.is_paused() ? to(Link::unsubscribed) : to(link, Action::subscribe);
    case Event::subscribed:
      return begins ? to(Link::subscribed) : stays;
    case Event::pause:
      return link == Link::subscribed ? to(Link::unsubscribing, Action::unsubscribe) : stays;
    case Event::unsubscribed:
      return link == Link::unsubscribing ? to(Link::unsubscribed) : stays;
    case Event::resume:
      return link == Link::unsubscribed ? to(Link::opening, Action::subscribe) : stays;
    case Event::given_up:
    case Event::lost:
      return to(Link::lost);
    case Event::refused:
      // A lost channel cannot be refused any more. For a channel that is being opened, open_again() handles
      // the error.
      if (link == Link::lost) return stays;
      return link == Link::reopening ? to(Link::lost) : to(link, Action::end);
    case Event::connection_ended:
      return to(link, Action::end);
    case Event::cancelled:
      return link == Link::lost ? stays : to(Link::cancelled);
    case Event::end:
      return to(Link::ending);
    case Event::hold:
    case Event::noticed:
      return stays;
  }
  return stays;
}

}  // namespace warren::inline v0::engine
