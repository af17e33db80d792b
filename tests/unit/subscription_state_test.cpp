#include "engine/subscription_state.hpp"

#include <array>
#include <cstddef>
#include <iostream>
#include <map>
#include <set>
#include <utility>

#include "support/catch.hpp"

using warren::engine::next;
using warren::engine::subscription_events;
using warren::engine::subscription_links;
using warren::engine::subscription_pauses;
using warren::engine::SubscriptionState;
using warren::engine::SubscriptionTransition;
using Link = warren::engine::SubscriptionLink;
using Pause = warren::engine::SubscriptionPause;
using Event = warren::engine::SubscriptionEvent;
using Action = warren::engine::SubscriptionAction;

namespace {

// Where a link goes, and what is to be done. What is not in the table stays as it is.
struct Step {
  Link to;
  Action action = Action::none;
};
using Steps = std::map<std::pair<Link, Event>, Step>;

Steps steps_of_links() {
  Steps steps{
      {{Link::lost, Event::open}, {Link::opening}},
      {{Link::lost, Event::reopen}, {Link::reopening}},
      {{Link::cancelled, Event::reopen}, {Link::reopening}},
      {{Link::opening, Event::opened}, {Link::opening, Action::subscribe}},
      {{Link::reopening, Event::opened}, {Link::reopening, Action::subscribe}},
      {{Link::opening, Event::subscribed}, {Link::subscribed}},
      {{Link::reopening, Event::subscribed}, {Link::subscribed}},
      {{Link::subscribed, Event::pause}, {Link::unsubscribing, Action::unsubscribe}},
      {{Link::unsubscribing, Event::unsubscribed}, {Link::unsubscribed}},
      {{Link::unsubscribed, Event::resume}, {Link::opening, Action::subscribe}},
      // Only the error of a channel that takes a lost one's place is not the end.
      {{Link::opening, Event::refused}, {Link::opening, Action::end}},
      {{Link::subscribed, Event::refused}, {Link::subscribed, Action::end}},
      {{Link::unsubscribing, Event::refused}, {Link::unsubscribing, Action::end}},
      {{Link::unsubscribed, Event::refused}, {Link::unsubscribed, Action::end}},
      {{Link::cancelled, Event::refused}, {Link::cancelled, Action::end}},
      {{Link::reopening, Event::refused}, {Link::lost}},
  };
  for (const Link link : subscription_links) {
    if (link == Link::ending) continue;
    steps[{link, Event::given_up}] = {Link::lost};
    steps[{link, Event::lost}] = {Link::lost};
    steps[{link, Event::connection_ended}] = {link, Action::end};
    steps[{link, Event::cancelled}] = {link == Link::lost ? Link::lost : Link::cancelled};
    steps[{link, Event::end}] = {Link::ending};
  }
  return steps;
}

const std::map<std::pair<Pause, Event>, Pause> steps_of_pauses{
    {{Pause::none, Event::hold}, Pause::asked},     {{Pause::heeded, Event::hold}, Pause::asked},
    {{Pause::lifted, Event::hold}, Pause::asked},   {{Pause::asked, Event::noticed}, Pause::heeded},
    {{Pause::lifted, Event::noticed}, Pause::none}, {{Pause::none, Event::pause}, Pause::heeded},
    {{Pause::lifted, Event::pause}, Pause::asked},  {{Pause::heeded, Event::resume}, Pause::none},
    {{Pause::asked, Event::resume}, Pause::lifted},
};

SubscriptionTransition expected(SubscriptionState state, Event event) {
  if (state.link == Link::ending) return {state, Action::none};
  static const Steps links = steps_of_links();
  SubscriptionTransition after{state, Action::none};
  if (const auto step = steps_of_pauses.find({state.pause, event}); step != steps_of_pauses.end()) {
    after.state.pause = step->second;
  }
  if (const auto step = links.find({state.link, event}); step != links.end()) {
    after.state.link = step->second.to;
    after.action = step->second.action;
  }
  const bool held = state.pause == Pause::asked || state.pause == Pause::heeded;
  if (event == Event::opened && after.action == Action::subscribe && held) {
    after = {{Link::unsubscribed, state.pause}, Action::none};  // resume() subscribes
  }
  return after;
}

SubscriptionState after(SubscriptionState state, std::initializer_list<Event> events) {
  for (const Event event : events) state = next(state, event).state;
  return state;
}

}  // namespace

TEST_CASE("a subscription goes from every state by every event to where its table says") {
  std::size_t pairs = 0;
  for (const Link link : subscription_links) {
    for (const Pause pause : subscription_pauses) {
      for (const Event event : subscription_events) {
        CAPTURE(static_cast<int>(link), static_cast<int>(pause), static_cast<int>(event));
        CHECK(next({link, pause}, event) == expected({link, pause}, event));
        ++pairs;
      }
    }
  }
  CHECK(pairs == 8 * 4 * 15);
  std::cout << "subscription: " << pairs << " pairs of a state and an event\n";
}

TEST_CASE("every state of a subscription but its end is left by some event, and every link is reached") {
  std::set<Link> reached{SubscriptionState{}.link};
  for (std::size_t round = 0; round < subscription_links.size(); ++round) {
    for (const Link from : std::set<Link>(reached)) {
      for (const Pause pause : subscription_pauses) {
        for (const Event event : subscription_events) reached.insert(next({from, pause}, event).state.link);
      }
    }
  }
  CHECK(reached.size() == subscription_links.size());
  for (const Link link : subscription_links) {
    if (link != Link::ending) CHECK(next({link}, Event::end).state.link == Link::ending);
  }
}

TEST_CASE("a pause that is asked for while the watcher resumes is not forgotten") {
  const SubscriptionState resumed =
      after({Link::unsubscribed, Pause::heeded}, {Event::hold, Event::pause, Event::resume});
  CHECK_FALSE(resumed.is_paused());
  CHECK(resumed.is_woken());
  const SubscriptionState seen = next(resumed, Event::noticed).state;
  CHECK_FALSE(seen.is_woken());
}

TEST_CASE("a subscription that is lost while it is paused consumes nothing until it is resumed") {
  const SubscriptionState paused = after({Link::subscribed}, {Event::hold, Event::noticed, Event::pause,
                                                              Event::lost, Event::reopen, Event::opened});
  CHECK(paused.link == Link::unsubscribed);
  CHECK(next(paused, Event::resume).action == Action::subscribe);
}
