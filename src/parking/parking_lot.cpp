#include <warren/parking_lot.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include <warren/connection.hpp>
#include <warren/publisher.hpp>

#include "engine/connection_core.hpp"
#include "engine/deadline.hpp"
#include "engine/delivery_access.hpp"
#include "engine/lone_publish.hpp"
#include "engine/queue_facts.hpp"
#include "engine/request.hpp"
#include "parking/admission.hpp"
#include "parking/parked.hpp"
#include "retry/copy.hpp"
#include "retry/read.hpp"
#include "values/handle.hpp"
#include "values/printable.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

using namespace std::chrono_literals;
using engine::ConnectionCore;
using Clock = std::chrono::steady_clock;

constexpr const char* class_name = "ParkingLot";
constexpr std::size_t most_in_flight = 64;
constexpr std::size_t most_failures = 100;

void count_failure(ParkedResult& result, const std::string& queue, std::string why,
                   std::uint64_t messages = 1) {
  make_printable(why);
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

// Records the error that ended the walk. Later errors are consequences of the first one, and are ignored.
void end_by(ParkedResult& result, const Error& error) {
  if (!result.ended_by) result.ended_by = error.details();
}

struct Parked {
  Delivery delivery{};  // its message is in `message`
  ParkedMessage message{};
};

// Publishes the message without those of warren's headers that do not fit into a frame. Returns nothing if
// the message is already confirmed.
std::optional<Confirmation> publish_fitting(const std::shared_ptr<ConnectionCore>& connection,
                                            Publisher& publisher, const std::string& exchange,
                                            const std::string& queue, Message& message,
                                            std::chrono::milliseconds timeout) {
  for (;;) {
    try {
      return publisher.publish_async(message, {.routing_key = queue, .timeout = timeout});
    } catch (const InvalidArgument&) {
      if (!retry::drop_least_needed(message.properties().headers, true).empty()) continue;
    }
    const auto deadline = engine::deadline_after(timeout);
    try {
      engine::publish_alone(connection, exchange, queue, message, deadline);
    } catch (const InvalidArgument&) {
      if (!message.properties().delivery_mode) throw;
      message.properties().delivery_mode.reset();  // saves one byte; the message came without it
      engine::publish_alone(connection, exchange, queue, message, deadline);
    }
    return std::nullopt;
  }
}

bool ends_all(const Error& error) {
  return error.scope() == ErrorScope::connection || dynamic_cast<const TimeoutError*>(&error) != nullptr;
}

/// One walk over a parked queue. It takes messages, and at its end it requeues those that were not settled.
///
/// Before RabbitMQ 4.3 a quorum queue counts each requeue of a message, and deletes the message above its
/// delivery limit. A message that was requeued before is therefore published again to the end of its queue,
/// and then acknowledged. This is not done if the limit is known to be out of reach.
class Walk {
 public:
  Walk(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue,
       const ParkedSelection& selection, const std::string& exchange,
       std::function<Publisher()> open_publisher)
      : shared_(connection),
        connection_(*connection),
        queue_(connection->topology().current_name(queue)),
        exchange_(exchange),
        open_publisher_(std::move(open_publisher)),
        selection_(selection),
        deadline_(engine::deadline_after(selection.timeout)) {
    constexpr const char* operation = "parking lot";
    if (selection.timeout <= 0ms) wire::refuse(operation, "timeout is not above 0");
    const auto until = step_deadline();
    connection_.unless_lost(until, [&] {
      connection_.await_open(operation, until);
      // This channel is never replaced, because its deliveries can only be settled on it.
      channel_ = connection_.open_channel(until);
    });
    try {
      left_ = engine::ask(*channel_, engine::request::find_queue(queue_), until).message_count;
    } catch (...) {
      channel_->begin_close();
      throw;
    }
  }
  ~Walk() {
    try {
      settle_all();
      channel_->give_back_unsettled();
      channel_->begin_close();
    } catch (...) {  // no memory for a frame: the channel is closed with the connection
    }
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  /// The next message that is selected, or nothing if the walk has ended for any reason.
  std::optional<Parked> next() {
    while (left_ > 0 && !result.ended_by && !selection_.stop.stop_requested() &&
           (!selection_.limit || result.selected < *selection_.limit)) {
      std::optional<Parked> parked = get();
      if (!parked) return std::nullopt;
      --left_;
      ++result.seen;
      if (parking::matches(selection_, parked->message) &&
          (!selection_.predicate || selection_.predicate(parked->message))) {
        ++result.selected;
        return parked;
      }
      keep(std::move(*parked));
    }
    return std::nullopt;
  }

  /// Whether a requeue counts towards the delivery limit, so that it could delete the message now or later.
  bool is_counted(const Parked& parked) {
    if (!parked.delivery.redelivered() || result.ended_by) return false;
    const FieldTable& headers = parked.message.message.properties().headers;
    const auto count = retry::read_count(headers, "x-delivery-count");
    if (!count || *count < 1) return false;
    // From RabbitMQ 4.3 on only failures count. A message that was requeued has been acquired more often.
    const auto acquired = retry::read_count(headers, "x-acquired-count");
    if (acquired && *acquired > *count) return false;
    if (!counts_) counts_ = has_limit();
    return *counts_;
  }

  /// Keeps a message parked.
  void keep(Parked parked) {
    if (!is_counted(parked)) return;  // it is requeued at the end
    settle_confirmed();
    if (result.ended_by) return;
    try {
      Message message = parking::make_parked_again(std::move(parked.message));
      std::optional<Confirmation> confirmation = publish_again(message);
      if (confirmation) {
        moved_.push_back({std::move(parked.delivery), std::move(*confirmation)});
      } else {
        acknowledge(parked.delivery);
      }
    } catch (const Error& error) {
      end_by_unmoved(error);
    }
  }

  /// Acknowledges a delivery. Returns false if the channel is gone: the message is still parked or requeued
  /// then.
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

  /// Requeues the deliveries that were not settled, and returns when the broker has all acknowledgements.
  ParkedResult finish() {
    settle_all();
    try {
      channel_->give_back_unsettled();
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
    const engine::Request request = engine::request::get(queue_, engine::NoAck::no);
    try {
      if (Clock::now() >= deadline_) {
        throw TimeoutError({.operation = request.operation,
                            .text = fmt::format("{} messages are left at the deadline", left_)});
      }
      engine::Reply reply = engine::ask(*channel_, request, step_deadline());
      if (!reply.content) return std::nullopt;
      Delivery& delivery = reply.content->delivery;
      Message message = std::move(engine::DeliveryAccess::message(delivery));
      return Parked{std::move(delivery),
                    parking::read_parked(std::move(message), std::move(reply.content->fault))};
    } catch (const Error& error) {
      end_by(result, error);
      return std::nullopt;
    }
  }

  struct Moved {
    Delivery delivery;
    Confirmation confirmation;
  };

  // Whether the queue may delete requeued messages. Returns true if that can't be found out.
  bool has_limit() {
    constexpr std::int64_t never_reached = 1'000;
    try {
      const std::optional<engine::DeliveryLimit> told = engine::delivery_limit(shared_, queue_);
      if (!told) return true;
      return told->is_quorum && !(told->limit && (*told->limit < 0 || *told->limit >= never_reached));
    } catch (const Error& error) {
      end_by(result, error);
      return true;
    }
  }

  std::optional<Confirmation> publish_again(Message& message) {
    // This publisher does not send messages again after a recovery, because their originals have been
    // requeued by then.
    if (!publisher_) publisher_ = open_publisher_();
    try {
      return publisher_->publish_async(message, {.routing_key = queue_, .timeout = time_left()});
    } catch (const InvalidArgument&) {  // the broker's own headers may be larger than a frame
      parking::drop_deaths(message.properties());
    }
    return publish_fitting(shared_, *publisher_, exchange_, queue_, message, time_left());
  }

  void settle_confirmed() {
    while (!moved_.empty() && (moved_.size() >= most_in_flight ||
                               moved_.front().confirmation.outcome() != PublishOutcome::pending)) {
      settle_first();
    }
  }
  void settle_all() {
    while (!moved_.empty()) settle_first();
  }
  void settle_first() {
    Moved moved = std::move(moved_.front());
    moved_.pop_front();
    try {
      moved.confirmation.wait();
    } catch (const Error& error) {
      return end_by_unmoved(error);
    }
    acknowledge(moved.delivery);
  }

  // Ends the walk, because going on would requeue more messages.
  void end_by_unmoved(const Error& error) {
    if (ends_all(error)) return end_by(result, error);
    ErrorDetails details = error.details();
    details.text = fmt::format(
        "\"{}\" counts each look at a message, and deletes it above its delivery limit; to publish the "
        "message "
        "again instead failed: {}. Give the queue a limit that is never reached, by a policy of the broker "
        "(delivery-limit 1000000000)",
        queue_, details.text);
    end_by(result, Error(std::move(details)));
  }

  const std::shared_ptr<ConnectionCore> shared_;
  ConnectionCore& connection_;
  const std::string queue_;
  const std::string& exchange_;
  const std::function<Publisher()> open_publisher_;
  const ParkedSelection& selection_;
  const Clock::time_point deadline_;
  std::shared_ptr<engine::ChannelCore> channel_;
  std::uint32_t left_ = 0;
  bool acknowledged_ = false;
  std::optional<bool> counts_;  // set when the first message is found that was requeued before
  std::optional<Publisher> publisher_;
  std::deque<Moved> moved_;
};

/// Publishes parked messages in the queue's order, with several in flight. It acknowledges them in that order
/// when they are confirmed.
class Replay {
 public:
  Replay(Walk& walk, std::shared_ptr<ConnectionCore> connection, Publisher publisher,
         const std::string& exchange, const parking::Admission& admission)
      : walk_(walk),
        connection_(std::move(connection)),
        publisher_(std::move(publisher)),
        exchange_(exchange),
        admission_(admission) {}

  void add(Parked parked) {
    const std::string queue = parked.message.queue;
    const auto stays = [&](std::string why) {
      keep(queue, std::move(why));
      walk_.keep(std::move(parked));
    };
    if (std::string why = admission_.refusal(parked.message); !why.empty()) return stays(std::move(why));
    settle_confirmed();
    if (walk_.result.ended_by) return stays(walk_.result.ended_by->text);
    std::optional<ParkedMessage> again;
    if (walk_.is_counted(parked)) again = parked.message;
    try {
      Message message = parking::make_replay(std::move(parked.message));
      // After a recovery, a queue that the broker named has another name.
      const std::string target = connection_->topology().current_name(queue);
      std::optional<Confirmation> confirmation =
          publish_fitting(connection_, publisher_, exchange_, target, message, walk_.time_left());
      if (confirmation) {
        in_flight_.push_back({std::move(parked.delivery), queue, std::move(*confirmation), std::move(again)});
      } else {
        ++(walk_.acknowledge(parked.delivery) ? walk_.result.done : walk_.result.duplicates);
      }
    } catch (const Error& error) {  // an invalid argument or too large headers concern only this message
      failed({std::move(parked.delivery), queue, {}, std::move(again)}, error);
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
    std::optional<ParkedMessage> again;  // parked again if it fails, because a requeue would count
  };

  void keep(const std::string& queue, std::string why) { count_failure(walk_.result, queue, std::move(why)); }

  void failed(Sent sent, const Error& error) {
    keep(sent.queue, error.what());
    if (ends_all(error)) end_by(walk_.result, error);
    if (sent.again) walk_.keep({std::move(sent.delivery), std::move(*sent.again)});
  }

  // Acknowledges as soon as possible: if this process dies, confirmed messages that are not acknowledged are
  // duplicated.
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
      return failed(std::move(sent), error);
    }
    ++(walk_.acknowledge(sent.delivery) ? walk_.result.done : walk_.result.duplicates);
  }

  Walk& walk_;
  const std::shared_ptr<ConnectionCore> connection_;
  Publisher publisher_;
  const std::string& exchange_;
  const parking::Admission& admission_;
  std::deque<Sent> in_flight_;
};

}  // namespace

ParkingLot::ParkingLot(Connection& connection, std::string_view queue, ParkingLotOptions options)
    : connection_(connection.core_), queue_(queue), options_(std::move(options)) {
  constexpr const char* operation = "parking lot";
  (void)use(connection_, "Connection", operation);
  if (queue_.empty()) wire::refuse(operation, "the queue has no name");
  wire::check_short_string(queue_, operation, "the queue's name");
  wire::check_short_string(options_.exchange, operation, "the exchange's name");
  for (const std::string& allowed : options_.allowed_queues) {
    if (allowed.empty()) wire::refuse(operation, "a queue of allowed_queues has no name");
    wire::check_short_string(allowed, operation, "the name of a queue of allowed_queues");
  }
}

ParkingLot::~ParkingLot() = default;
ParkingLot::ParkingLot(ParkingLot&&) noexcept = default;
ParkingLot& ParkingLot::operator=(ParkingLot&&) noexcept = default;

const std::string& ParkingLot::queue() const noexcept { return queue_; }

// The publisher does not send messages again after a recovery, because their originals have been requeued by
// then.
Publisher ParkingLot::open_publisher() const {
  return Publisher(connection_, {.exchange = options_.exchange, .on_loss = OnLoss::fail});
}

ParkedResult ParkingLot::inspect(const std::function<void(const ParkedMessage&)>& visit,
                                 const ParkedSelection& selection) {
  (void)use(connection_, class_name, "inspect");
  Walk walk(connection_, queue_, selection, options_.exchange, [this] { return open_publisher(); });
  while (std::optional<Parked> parked = walk.next()) {
    visit(parked->message);
    walk.keep(std::move(*parked));
  }
  return walk.finish();
}

ParkedResult ParkingLot::replay(const ParkedSelection& selection) {
  (void)use(connection_, class_name, "replay");
  // The walk waits for the connection before the names are read, because a recovery renames queues that the
  // broker named.
  Walk walk(connection_, queue_, selection, options_.exchange, [this] { return open_publisher(); });
  const engine::Topology& topology = connection_->topology();
  const auto& allowed = options_.allowed_queues;
  const parking::Admission admission(topology, queue_,
                                     allowed.empty() ? parking::known_queues(topology, queue_) : allowed);
  if (selection.dry_run) {
    while (std::optional<Parked> parked = walk.next()) {
      if (std::string why = admission.refusal(parked->message); !why.empty())
        count_failure(walk.result, parked->message.queue, std::move(why));
      walk.keep(std::move(*parked));
    }
    return walk.finish();
  }
  Replay replay(walk, connection_, open_publisher(), options_.exchange, admission);
  std::exception_ptr thrown;
  try {
    while (std::optional<Parked> parked = walk.next()) replay.add(std::move(*parked));
  } catch (...) {  // the predicate threw: messages in flight must be settled, or they would be replayed twice
    thrown = std::current_exception();
  }
  replay.settle_all();
  ParkedResult result = walk.finish();
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

ParkedResult ParkingLot::discard(const ParkedSelection& selection) {
  (void)use(connection_, class_name, "discard");
  if (selection.dry_run) return inspect([](const ParkedMessage&) {}, selection);
  Walk walk(connection_, queue_, selection, options_.exchange, [this] { return open_publisher(); });
  while (const std::optional<Parked> parked = walk.next()) {
    if (walk.acknowledge(parked->delivery)) ++walk.result.done;
  }
  return walk.finish();
}

}  // namespace warren::inline v0
