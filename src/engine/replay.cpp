#include "engine/replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>

#include <warren/reply_code.hpp>

#include "engine/connection_core.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;

// The most calls in flight. Calls after a refused one are sent again, so each refusal narrows the window.
constexpr std::size_t widest_window = 256;
constexpr std::size_t narrowest_window = 4;
constexpr auto progress_every = 2s;
// Locked queues usually belong to one lost connection, so a round stops after this many of them.
constexpr std::size_t most_locked_a_round = 8;

}  // namespace

Replay::~Replay() {
  if (channel_) channel_->begin_close();
}

void Replay::run(const std::vector<Declaration>& all, const Answered& answered, const Refused& refused) {
  struct Sent {
    std::size_t index = 0;
    ChannelCore::Call call{};
  };
  if (window_ == 0) window_ = widest_window;
  std::deque<Sent> in_flight;
  std::size_t next = 0;
  while (next < all.size() || !in_flight.empty()) {
    if (in_flight.empty() && (!channel_ || !channel_->is_open())) {
      channel_ =
          connection_.open_channel(connection_.operation_deadline(), {}, ConnectionCore::Access::recovery);
    }
    std::size_t culprit = next;
    ErrorDetails error;
    try {
      while (next < all.size() && in_flight.size() < window_) {
        const Declaration& declaration = all[next];
        culprit = next;
        in_flight.push_back({next, begin(*channel_, declaration.request)});
        ++next;
      }
    } catch (const InvalidArgument& failure) {  // the declaration no longer fits a frame
      ++next;
      count_answer();
      if (!refused(all[culprit], failure.details())) return;
      continue;
    } catch (const ChannelError& failure) {
      // The broker closed the channel. The first declaration in flight without an answer is the cause.
      error = failure.details();
      if (in_flight.empty()) {
        channel_.reset();
        ++next;
        count_answer();
        if (!refused(all[culprit], error)) return;
        continue;
      }
    }
    const Sent first = std::move(in_flight.front());
    in_flight.pop_front();
    const Declaration& declaration = all[first.index];
    try {
      const Reply reply =
          channel_->finish(first.call, declaration.request.operation, connection_.operation_deadline());
      window_ = std::min(window_ + 1, widest_window);
      count_answer();
      answered(declaration, reply);
      continue;
    } catch (const ChannelError& failure) {
      error = failure.details();
    }
    next = first.index + 1;
    in_flight.clear();
    channel_.reset();
    window_ = std::max(window_ / 4, narrowest_window);
    count_answer();
    if (!refused(declaration, error)) return;
  }
}

void Replay::count_answer() {
  const auto [done, total] = connection_.count_declaration();
  const auto now = ConnectionCore::Clock::now();
  if (total == 0 || now - told_at_ < progress_every) return;
  told_at_ = now;
  connection_.events().log(
      LogLevel::info,
      fmt::format("recovery: {} of {} declarations of the topology are answered after {:.1f} s", done, total,
                  std::chrono::duration<double>(now - started_at_).count()));
}

void Replay::refuse(NotRecovered what) {
  // A queue whose node is down still exists, and is available again with its node.
  const bool passing = what.pending || wire::is_node_down(what.error.code, what.error.text);
  connection_.events().log(
      passing ? LogLevel::warning : LogLevel::error,
      fmt::format("not declared again{}: {}", what.pending ? ", and tried again in the background" : "",
                  Error(what.error).what()));
  refused_.push_back(std::move(what));
}

void Replay::declare_all() {
  Topology& topology = connection_.topology();
  topology.clear_pending();
  if (const std::size_t count = topology.forget_expired(Topology::Clock::now())) {
    connection_.events().log(
        LogLevel::info,
        fmt::format("recovery: {} queues are not declared again, since this connection has not used them for "
                    "longer than their x-expires",
                    count));
  }
  const Topology::Snapshot known = topology.snapshot();
  const std::size_t total = known.exchanges.size() + known.queues.size() + known.bindings.size();
  started_at_ = told_at_ = ConnectionCore::Clock::now();
  connection_.expect_declarations(total);
  if (total == 0) return;
  declare_exchanges(known.exchanges);
  declare_queues(known.queues, Locked::set_pending);
  std::vector<BindingRecord> bindings = topology.snapshot().bindings;  // with the queues' new names
  std::erase_if(bindings, [&](const BindingRecord& each) {
    return each.to_queue && topology.is_pending(each.destination);
  });
  declare_bindings(bindings);
  connection_.expect_declarations(0);
}

void Replay::declare_pending(const std::vector<QueueRecord>& queues) {
  Topology& topology = connection_.topology();
  window_ = narrowest_window;
  declared_.clear();
  declare_queues(queues, Locked::keep_pending);
  std::vector<BindingRecord> bindings = topology.snapshot().bindings;
  std::erase_if(bindings, [&](const BindingRecord& each) {
    return !each.to_queue || std::ranges::find(declared_, each.destination) == declared_.end();
  });
  declare_bindings(bindings);
  // Only now, since consumers continue as soon as the queue is not pending.
  for (const std::string& name : declared_) {
    topology.clear_pending(name);
    connection_.events().log(
        LogLevel::info, fmt::format("queue \"{}\": declared again, with its bindings: it is free now", name));
  }
}

void Replay::declare_exchanges(const std::vector<ExchangeRecord>& exchanges) {
  std::vector<Declaration> all;
  for (std::size_t i = 0; i < exchanges.size(); ++i)
    all.push_back({TopologyEntity::exchange, i, request::declare_exchange(exchanges[i])});
  run(
      all, [](const Declaration&, const Reply&) {},
      [&](const Declaration& declaration, const ErrorDetails& error) {
        refuse(
            {.entity = TopologyEntity::exchange, .name = exchanges[declaration.index].name, .error = error});
        return true;
      });
}

void Replay::declare_queues(const std::vector<QueueRecord>& queues, Locked locked) {
  Topology& topology = connection_.topology();
  std::vector<Declaration> all;
  for (std::size_t i = 0; i < queues.size(); ++i)
    all.push_back({TopologyEntity::queue, i, request::declare_queue(queues[i])});
  std::size_t still_locked = 0;
  const auto answered = [&](const Declaration& declaration, const Reply& reply) {
    const QueueRecord& queue = queues[declaration.index];
    if (queue.server_named) topology.renamed(queue.name, reply.name);
    topology.used(queue.name);
    if (locked == Locked::keep_pending) declared_.push_back(queue.name);
  };
  const auto refused = [&](const Declaration& declaration, const ErrorDetails& error) {
    const QueueRecord& queue = queues[declaration.index];
    const bool is_locked = error.code == reply_code::resource_locked;
    if (is_locked && locked == Locked::keep_pending) return ++still_locked < most_locked_a_round;
    if (is_locked) topology.set_pending(queue.name);
    if (!is_locked) topology.clear_pending(queue.name);
    refuse({.entity = TopologyEntity::queue, .name = queue.name, .error = error, .pending = is_locked});
    return true;
  };
  run(all, answered, refused);
}

void Replay::declare_bindings(const std::vector<BindingRecord>& bindings) {
  std::vector<Declaration> all;
  for (std::size_t i = 0; i < bindings.size(); ++i)
    all.push_back({TopologyEntity::binding, i, request::bind(bindings[i])});
  run(
      all, [](const Declaration&, const Reply&) {},
      [&](const Declaration& declaration, const ErrorDetails& error) {
        const BindingRecord& binding = bindings[declaration.index];
        refuse({.entity = TopologyEntity::binding,
                .name = binding.destination,
                .source = binding.source,
                .routing_key = binding.routing_key,
                .error = error});
        return true;
      });
}

}  // namespace warren::inline v0::engine
