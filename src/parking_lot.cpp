#include <warren/parking_lot.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <utility>

#include <warren/connection.hpp>
#include <warren/publisher.hpp>

#include "engine/connection_core.hpp"
#include "engine/deadline.hpp"
#include "engine/delivery_access.hpp"
#include "retry/copy.hpp"
#include "retry/lone_publish.hpp"
#include "retry/parked.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

using namespace std::chrono_literals;
using engine::Bytes;
using engine::ConnectionCore;
using Clock = std::chrono::steady_clock;
namespace id = wire::id;

constexpr std::size_t most_in_flight = 64;
constexpr std::size_t most_failures = 100;

void count_failure(ParkedResult& result, const std::string& queue, std::string why,
                   std::uint64_t messages = 1) {
  const auto same = std::ranges::find_if(result.failures, [&](const ParkedFailure& failure) {
    return failure.queue == queue && failure.why == why;
  });
  if (same != result.failures.end()) {
    same->messages += messages;
  } else if (result.failures.size() + 1 < most_failures) {
    result.failures.push_back({queue, std::move(why), messages});
  } else if (result.failures.size() < most_failures) {
    result.failures.push_back({"", "further queues and reasons", messages});
  } else {
    result.failures.back().messages += messages;
  }
}

// The first one tells why: what follows is its consequence.
void end_by(ParkedResult& result, const Error& error) {
  if (!result.ended_by) result.ended_by = error.details();
}

struct Parked {
  Delivery delivery{};  // without its message
  ParkedMessage message{};
};

/// One walk over a parked queue: takes messages, and gives back at its end what nobody settled.
class Walk {
 public:
  Walk(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue,
       const ParkedSelection& selection)
      : connection_(*connection),
        queue_(queue),
        selection_(selection),
        deadline_(engine::deadline_after(selection.timeout)) {
    constexpr const char* operation = "parking lot";
    if (selection.timeout <= 0ms) wire::refuse(operation, "timeout is not above 0");
    const auto until = step_deadline();
    connection_.unless_lost(until, [&] {
      connection_.await_open(operation, until);
      // Never another one in its place: what it holds is settled on it, or not at all.
      channel_ = connection_.open_channel(until);
    });
    try {
      left_ = channel_
                  ->call(fmt::format("queue.declare \"{}\"", queue_), id::queue_declare_ok, until,
                         [&](Bytes& out, std::uint16_t number) {
                           wire::queue_declare(out, number, queue_, {.passive = true}, {});
                         })
                  .message_count;
    } catch (...) {
      channel_->begin_close();
      throw;
    }
  }
  ~Walk() {
    try {
      channel_->begin_close();
    } catch (...) {  // no memory for a frame: the connection's end closes it
    }
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  /// The next message that is selected; nothing at the end, for whatever reason.
  std::optional<Parked> next() {
    while (left_ > 0 && !result.ended_by && !selection_.stop.stop_requested() &&
           (!selection_.limit || result.selected < *selection_.limit)) {
      std::optional<Parked> parked = get();
      if (!parked) return std::nullopt;
      --left_;
      ++result.seen;
      if (!retry::matches(selection_, parked->message)) continue;
      if (selection_.predicate && !selection_.predicate(parked->message)) continue;
      ++result.selected;
      return parked;
    }
    return std::nullopt;
  }

  /// Where the channel is gone, the message is still parked, or comes back: false.
  bool acknowledge(const Delivery& delivery) {
    try {
      delivery.ack();
      acknowledged_ = true;
      return true;
    } catch (const Error& error) {
      end_by(result, error);
      return false;
    }
  }

  /// Gives back what was not settled, and returns once the broker has all acknowledgements.
  ParkedResult finish() {
    try {
      channel_->close(std::max(step_deadline(), Clock::now() + 1s));
      if (acknowledged_ && channel_->is_lost()) {
        throw ConnectionError({.operation = "channel.close",
                               .text = "the connection was lost: some messages may be parked as before",
                               .scope = ErrorScope::connection,
                               .in_doubt = true});
      }
    } catch (const Error& error) {
      end_by(result, error);
    }
    return std::move(result);
  }

  [[nodiscard]] Clock::time_point step_deadline() const {
    return std::min(deadline_, connection_.operation_deadline());
  }
  [[nodiscard]] std::chrono::milliseconds time_left() const {
    return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(step_deadline() - Clock::now()),
                    1ms);
  }

  ParkedResult result{};

 private:
  std::optional<Parked> get() {
    const std::string operation = fmt::format("basic.get \"{}\"", queue_);
    try {
      if (Clock::now() >= deadline_) {
        throw TimeoutError(
            {.operation = operation, .text = fmt::format("{} messages are left at the deadline", left_)});
      }
      engine::Reply reply = channel_->call(
          operation, id::basic_get_ok, step_deadline(),
          [&](Bytes& out, std::uint16_t number) { wire::basic_get(out, number, queue_, false); },
          engine::ChannelCore::LateDelivery::requeue);
      if (!reply.content) return std::nullopt;
      Delivery& delivery = reply.content->delivery;
      Message message = std::move(engine::DeliveryAccess::message(delivery));
      return Parked{std::move(delivery),
                    retry::read_parked(std::move(message), std::move(reply.content->fault))};
    } catch (const Error& error) {
      end_by(result, error);
      return std::nullopt;
    }
  }

  ConnectionCore& connection_;
  const std::string& queue_;
  const ParkedSelection& selection_;
  const Clock::time_point deadline_;
  std::shared_ptr<engine::ChannelCore> channel_;
  std::uint32_t left_ = 0;
  bool acknowledged_ = false;
};

/// Publishes in the queue's order, some in flight, and acknowledges in the same order what is confirmed.
class Replay {
 public:
  Replay(Walk& walk, std::shared_ptr<ConnectionCore> connection, Publisher publisher,
         const std::string& exchange, const std::string& lot)
      : walk_(walk),
        connection_(std::move(connection)),
        publisher_(std::move(publisher)),
        exchange_(exchange),
        lot_(lot) {}

  void add(Parked parked) {
    const std::string queue = parked.message.queue;
    if (!parked.message.fault.empty())
      return keep(queue, "its properties can't be read: " + parked.message.fault);
    if (queue.empty()) return keep(queue, "its headers do not say which queue it failed in");
    if (queue == lot_) return keep(queue, "its headers name the parking lot as the queue it failed in");
    settle_confirmed();
    if (walk_.result.ended_by) return keep(queue, walk_.result.ended_by->text);
    try {
      Message message = retry::make_replay(std::move(parked.message));
      // A queue that the broker named has another name after a recovery.
      const std::string target = connection_->topology().current_name(queue);
      std::optional<Confirmation> confirmation = publish(message, target);
      if (confirmation) {
        in_flight_.push_back({std::move(parked.delivery), queue, std::move(*confirmation)});
      } else {
        ++(walk_.acknowledge(parked.delivery) ? walk_.result.done : walk_.result.duplicates);
      }
    } catch (const Error& error) {  // a bad argument or no room for its headers concerns this one alone
      keep(queue, error.what());
      if (ends_all(error)) end_by(walk_.result, error);
    }
  }
  void settle_all() {
    while (!in_flight_.empty()) settle_first();
  }

 private:
  struct Sent {
    Delivery delivery;
    std::string queue;
    Confirmation confirmation;
  };

  static bool ends_all(const Error& error) {
    return error.scope() == ErrorScope::connection || dynamic_cast<const TimeoutError*>(&error) != nullptr;
  }
  // Without those of our headers that do not fit a frame; nothing where it is confirmed already.
  std::optional<Confirmation> publish(Message& message, const std::string& target) {
    for (;;) {
      try {
        return publisher_.publish_async(message, {.routing_key = target, .timeout = walk_.time_left()});
      } catch (const InvalidArgument&) {
        if (!retry::drop_least_needed(message.properties().headers, true).empty()) continue;
      }
      try {
        retry::publish_alone(connection_, exchange_, target, message, walk_.step_deadline());
      } catch (const InvalidArgument&) {
        message.properties().delivery_mode.reset();  // one byte, which it came without
        retry::publish_alone(connection_, exchange_, target, message, walk_.step_deadline());
      }
      return std::nullopt;
    }
  }
  void keep(const std::string& queue, std::string why) { count_failure(walk_.result, queue, std::move(why)); }

  // As soon as may be: what is confirmed and not acknowledged comes twice where this process dies.
  void settle_confirmed() {
    while (!in_flight_.empty() && (in_flight_.size() >= most_in_flight ||
                                   in_flight_.front().confirmation.outcome() != PublishOutcome::pending)) {
      settle_first();
    }
  }

  void settle_first() {
    Sent sent = std::move(in_flight_.front());
    in_flight_.pop_front();
    try {
      sent.confirmation.wait();
    } catch (const Error& error) {
      keep(sent.queue, error.what());
      if (ends_all(error)) end_by(walk_.result, error);
      return;
    }
    ++(walk_.acknowledge(sent.delivery) ? walk_.result.done : walk_.result.duplicates);
  }

  Walk& walk_;
  const std::shared_ptr<ConnectionCore> connection_;
  Publisher publisher_;
  const std::string& exchange_;
  const std::string& lot_;
  std::deque<Sent> in_flight_;
};

}  // namespace

ParkingLot::ParkingLot(Connection& connection, std::string queue, ParkingLotOptions options)
    : connection_(connection.core_), queue_(std::move(queue)), options_(std::move(options)) {
  constexpr const char* operation = "parking lot";
  if (queue_.empty()) wire::refuse(operation, "the queue has no name");
  wire::check_short_string(queue_, operation, "the queue's name");
  wire::check_short_string(options_.exchange, operation, "the exchange's name");
}

ParkingLot::~ParkingLot() = default;
ParkingLot::ParkingLot(ParkingLot&&) noexcept = default;
ParkingLot& ParkingLot::operator=(ParkingLot&&) noexcept = default;

const std::string& ParkingLot::queue() const noexcept { return queue_; }

ParkedResult ParkingLot::inspect(const std::function<void(const ParkedMessage&)>& visit,
                                 const ParkedSelection& selection) {
  Walk walk(connection_, queue_, selection);
  while (const std::optional<Parked> parked = walk.next()) visit(parked->message);
  return walk.finish();
}

ParkedResult ParkingLot::replay(const ParkedSelection& selection) {
  if (selection.dry_run) return inspect([](const ParkedMessage&) {}, selection);
  Walk walk(connection_, queue_, selection);
  // A publish that is sent again after a recovery would be confirmed too late: its original is back by then.
  Replay replay(walk, connection_,
                Publisher(connection_, {.exchange = options_.exchange, .on_loss = OnLoss::fail}),
                options_.exchange, queue_);
  std::exception_ptr thrown;
  try {
    while (std::optional<Parked> parked = walk.next()) replay.add(std::move(*parked));
  } catch (...) {  // the predicate's: what is in flight then must not be replayed twice
    thrown = std::current_exception();
  }
  replay.settle_all();
  ParkedResult result = walk.finish();
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

ParkedResult ParkingLot::discard(const ParkedSelection& selection) {
  if (selection.dry_run) return inspect([](const ParkedMessage&) {}, selection);
  Walk walk(connection_, queue_, selection);
  while (const std::optional<Parked> parked = walk.next()) {
    if (walk.acknowledge(parked->delivery)) ++walk.result.done;
  }
  return walk.finish();
}

}  // namespace warren::inline v0
