#include "engine/publisher_state.hpp"

#include <array>
#include <iostream>
#include <string_view>

#include "support/catch.hpp"

using warren::engine::next;
using warren::engine::PublisherEvent;
using warren::engine::PublisherState;

namespace {

constexpr int states = warren::engine::publisher_states;
constexpr int events = warren::engine::publisher_events;

// One letter for each state, in their order: idle, opening, open (O), losing (L), opening_lost (q), lost,
// recovering, reopening (b), closed.
constexpr std::string_view letters = "ipOLqlrbc";
static_assert(letters.size() == states);

struct Row {
  PublisherEvent event;
  std::string_view after;  // the state after it, for each state before it
};

constexpr std::array rows{
    Row{PublisherEvent::open_begins, "ppOLqprbc"},     Row{PublisherEvent::recovery_begins, "rpOLqrrrc"},
    Row{PublisherEvent::opened, "OOOLLOOOc"},          Row{PublisherEvent::open_failed, "iiOLlllbc"},
    Row{PublisherEvent::refused, "ipOLqiibc"},         Row{PublisherEvent::connection_lost, "lqLLqlrlc"},
    Row{PublisherEvent::connection_open, "ipOOpipbc"}, Row{PublisherEvent::connection_ended, "ipOOpipic"},
    Row{PublisherEvent::ended_by_loss, "lqllqlrlc"},   Row{PublisherEvent::ended_by_broker, "ipbbqlrbc"},
    Row{PublisherEvent::ended, "ipilqlrbc"},           Row{PublisherEvent::close_ok_sent, "ipOLqlric"},
    Row{PublisherEvent::nothing_to_send, "ipOLqiric"}, Row{PublisherEvent::closed, "ccccccccc"},
};

}  // namespace

TEST_CASE("a publisher's channel: each state after each event") {
  int pairs = 0;
  REQUIRE(rows.size() == events);
  for (int event = 0; event < events; ++event) {
    const Row& row = rows[static_cast<std::size_t>(event)];
    CHECK(static_cast<int>(row.event) == event);
    REQUIRE(row.after.size() == states);
    for (int state = 0; state < states; ++state) {
      CAPTURE(event, state);
      const auto after = next(static_cast<PublisherState>(state), row.event);
      CHECK(letters[static_cast<std::size_t>(after)] == row.after[static_cast<std::size_t>(state)]);
      ++pairs;
    }
  }
  CHECK(pairs == states * events);
  std::cout << "publisher state: " << pairs << " (state, event) pairs\n";
}

TEST_CASE("a publisher's channel: who opens one, and whether one comes") {
  for (int each = 0; each < states; ++each) {
    CAPTURE(each);
    const auto state = static_cast<PublisherState>(each);
    CHECK_FALSE((has_channel(state) && is_opening(state)));
    // Whoever opens a channel ends that, whatever comes of it.
    CHECK_FALSE(is_opening(next(state, PublisherEvent::opened)));
    CHECK_FALSE(is_opening(next(state, PublisherEvent::open_failed)));
    // A connection that has ended brings nothing.
    CHECK_FALSE(comes_by_itself(next(state, PublisherEvent::connection_ended)));
    CHECK(next(state, PublisherEvent::closed) == PublisherState::closed);
  }
}
