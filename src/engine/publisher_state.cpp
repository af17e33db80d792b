#include "engine/publisher_state.hpp"

namespace warren::inline v0::engine {
namespace {

using S = PublisherState;

S when_lost(S state) noexcept {
  if (state == S::open) return S::losing;
  if (state == S::opening) return S::opening_lost;
  if (state == S::idle || state == S::reopening) return S::lost;
  return state;
}

// There is no recovery to wait for: an attempt to open a channel goes on.
S without_recovery(S state) noexcept {
  if (state == S::losing) return S::open;
  if (state == S::opening_lost || state == S::recovering) return S::opening;
  if (state == S::lost) return S::idle;
  return state;
}

S when_opened(S state) noexcept {
  if (state == S::opening_lost) return S::losing;
  return state == S::losing ? S::losing : S::open;
}

S when_failed(S state) noexcept {
  if (state == S::opening) return S::idle;
  if (state == S::opening_lost || state == S::recovering) return S::lost;
  return state;
}

S when_ended_by_loss(S state) noexcept {
  if (state == S::opening) return S::opening_lost;
  return is_opening(state) ? state : S::lost;
}

}  // namespace

PublisherState next(PublisherState state, PublisherEvent event) noexcept {
  using E = PublisherEvent;
  if (state == S::closed) return S::closed;
  switch (event) {
    case E::open_begins:
      return state == S::idle || state == S::lost ? S::opening : state;
    case E::recovery_begins:
      return has_channel(state) || is_opening(state) ? state : S::recovering;
    case E::opened:
      return when_opened(state);
    case E::open_failed:
      return when_failed(state);
    case E::refused:
      return state == S::recovering || state == S::lost ? S::idle : state;
    case E::connection_lost:
      return when_lost(state);
    case E::connection_open:
      return without_recovery(state);
    case E::connection_ended:
      return state == S::reopening ? S::idle : without_recovery(state);
    case E::ended_by_loss:
      return when_ended_by_loss(state);
    case E::ended_by_broker:
      return has_channel(state) ? S::reopening : state;
    case E::ended:
      if (state == S::losing) return S::lost;
      return state == S::open ? S::idle : state;
    case E::close_ok_sent:
      return state == S::reopening ? S::idle : state;
    case E::nothing_to_send:
      return state == S::lost || state == S::reopening ? S::idle : state;
    case E::closed:
      return S::closed;
  }
  return state;
}

}  // namespace warren::inline v0::engine
