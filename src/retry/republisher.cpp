#include "retry/republisher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <warren/error.hpp>
#include <warren/reply_code.hpp>

#include "client/connection_access.hpp"
#include "engine/lone_publish.hpp"
#include "engine/no_memory.hpp"
#include "retry/topology.hpp"

namespace warren::inline v0::retry {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds first_pause = 100ms;
constexpr std::chrono::milliseconds longest_pause = 5s;
constexpr auto admission_timeout = 5s;  // to wait for room in the window, or for another channel
constexpr auto confirm_timeout = 30s;
constexpr auto confirm_slice = 200ms;  // how often `stop` is asked while a confirm is awaited
constexpr auto confirm_grace = 2s;     // to wait for a confirm after `stop` returned true
constexpr auto reminder = 1min;        // between two log lines about one fault
constexpr std::string_view blocked_text = "the broker blocks publishing: ";

// Throws while the broker blocks publishing. The broker would answer nothing before the alarm ends, and only
// pause() can be interrupted by wake().
void refuse_if_blocked(const Connection& connection) {
  if (const auto reason = connection.blocked())
    throw BlockedError({.operation = "basic.publish", .text = std::string(blocked_text) + *reason});
}

}  // namespace

// The latest fault that a send() logged. A fault is logged when it is a new one, and then once a minute.
struct Republisher::Notice {
  std::string fault{};
  Clock::time_point told_at{};
};

struct Republisher::Link {
  Link(std::shared_ptr<Connection> opened, PublisherOptions options)
      : connection(std::move(opened)), publisher(*connection, std::move(options)) {}

  std::shared_ptr<Connection> connection;
  Publisher publisher;
};

Republisher::Republisher(std::shared_ptr<PublishingConnection> connection,
                         std::chrono::milliseconds close_timeout, RetryPolicy policy, std::string queue,
                         Log log, Resolve resolve)
    : connection_(std::move(connection)),
      close_timeout_(close_timeout),
      policy_(std::move(policy)),
      queue_(std::move(queue)),
      log_(std::move(log)),
      resolve_(std::move(resolve)) {}

Republisher::~Republisher() {
  close();
  disconnect();
}

bool Republisher::send(Copy& copy, const Stop& stop) {
  Notice notice;
  for (auto delay = first_pause;; delay = std::min(delay * 2, longest_pause)) {
    if (is_over(stop)) return false;
    try {
      const std::shared_ptr<Link> current = link(stop);
      if (current == nullptr || !publish(*current, copy, stop, notice)) return false;
      if (!notice.fault.empty()) {
        log(LogLevel::info, engine::text_or_no_memory([&] {
              return fmt::format("the copy of a message of \"{}\" to \"{}\" is confirmed now", queue_,
                                 copy.queue);
            }));
      }
      return true;
    } catch (const std::exception& error) {
      if (opening_.is_closed()) return false;
      tell(notice, copy, error.what());
    }
    if (!pause(delay, stop)) return false;
  }
}

// Publishes the copy. If a queue or the exchange is missing, declares them again and publishes once more.
// Returns false if `stop` returned true first.
bool Republisher::publish(Link& link, Copy& copy, const Stop& stop, Notice& notice) const {
  try {
    return publish_once(link, copy, stop, notice);
  } catch (const ReturnedError& error) {
    tell(notice, copy, error.what());
  } catch (const ChannelError& error) {
    if (error.code() != reply_code::not_found) throw;
    tell(notice, copy, error.what());
  }
  declare_again(*link.connection);
  return publish_once(link, copy, stop, notice);
}

// Publishes the copy, and shrinks it until its headers fit into a frame.
bool Republisher::publish_once(Link& link, Copy& copy, const Stop& stop, Notice& notice) const {
  std::string dropped;
  for (;;) {
    refuse_if_blocked(*link.connection);
    const std::string queue = resolve(copy.queue);
    Confirmation confirmation;
    try {
      confirmation =
          link.publisher.publish_async(copy.message, {.routing_key = queue, .timeout = admission_timeout});
    } catch (const InvalidArgument&) {
      const std::string_view step = shrink(copy);
      if (!step.empty()) {
        dropped += (dropped.empty() ? "" : ", ") + std::string(step);
        continue;
      }
      return publish_bare(link, copy, queue, stop);
    }
    if (!dropped.empty()) {
      log(LogLevel::warning,
          fmt::format("the headers of a message of \"{}\" leave no room for those of its copy to \"{}\": "
                      "sent without {}",
                      queue_, queue, dropped));
    }
    return await(link, confirmation, copy, stop, notice);
  }
}

// Publishes the copy without the header by which a Publisher recognises a returned message. If the headers
// still do not fit, it also drops the delivery mode, which takes one byte.
bool Republisher::publish_bare(Link& link, Copy& copy, const std::string& queue, const Stop& stop) const {
  const auto publish = [&] {
    return engine::publish_alone(engine::ConnectionAccess::core(*link.connection), policy_.options().exchange,
                                 queue, copy.message, Clock::now() + confirm_timeout, stop);
  };
  try {
    return publish();
  } catch (const InvalidArgument&) {
    if (!copy.message.properties().delivery_mode) throw;
    copy.message.properties().delivery_mode.reset();
  }
  return publish();
}

void Republisher::declare_again(Connection& connection) const {
  RetryTopology topology = policy_.topology(queue_);
  for (RetryQueue& queue : topology.queues) queue.name = resolve(queue.name);
  for (std::string& binding : topology.bindings) binding = resolve(binding);
  declare(connection, topology);
}

std::string Republisher::resolve(const std::string& queue) const {
  return resolve_ ? resolve_(queue) : queue;
}

// Returns true when the copy is confirmed, and false if `stop` returned true or close() was called first.
// Throws if the publish failed, or was not confirmed in time.
bool Republisher::await(const Link& link, Confirmation& confirmation, const Copy& copy, const Stop& stop,
                        Notice& notice) const {
  auto deadline = Clock::now() + confirm_timeout;
  std::optional<Clock::time_point> leave_by;
  const auto is_confirmed = [&] {
    try {
      return confirmation.wait_for(confirm_slice);
    } catch (const TimeoutError&) {  // its admission deadline has passed, but the confirm may still come
      return false;
    }
  };
  for (;;) {
    if (is_confirmed()) return true;
    const auto now = Clock::now();
    // The broker blocks the connection when it gets the first publish during an alarm. That publish is still
    // in flight.
    if (const auto reason = link.connection->blocked()) {
      tell(notice, copy, std::string(blocked_text) + *reason);
      deadline = now + confirm_timeout;
    }
    if (now >= deadline) {
      throw TimeoutError(
          {.operation = "basic.publish", .text = "no confirm before the deadline", .in_doubt = true});
    }
    if (opening_.is_closed()) return false;
    if (!leave_by && stop()) leave_by = now + confirm_grace;
    if (leave_by && now >= *leave_by) return false;
  }
}

// Returns null if `stop` returned true first, or if close() was called.
std::shared_ptr<Republisher::Link> Republisher::link(const Stop& stop) {
  return opening_.get([](const Link& link) { return link.connection->is_open(); },
                      [&] { return open_link(stop); }, stop);
}

std::shared_ptr<Republisher::Link> Republisher::open_link(const Stop& stop) {
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(joined_, true)) connection_->join();
  }
  std::shared_ptr<Connection> connection = connection_->get([&] { return is_over(stop); });
  if (connection == nullptr) return nullptr;
  refuse_if_blocked(*connection);  // a copy of another sender may have made the broker block it
  return std::make_shared<Link>(std::move(connection),
                                PublisherOptions{.exchange = policy_.options().exchange});
}

// Returns false if `stop` returned true, or if close() was called.
bool Republisher::pause(std::chrono::milliseconds delay, const Stop& stop) {
  const auto until = Clock::now() + delay;
  for (;;) {
    std::uint64_t wakes = 0;
    {
      const std::lock_guard lock(mutex_);
      wakes = wakes_;
    }
    if (is_over(stop)) return false;  // a wake() after this line is noticed below
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, until, [&] { return wakes_ != wakes; })) return true;
  }
}

void Republisher::wake() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ++wakes_;
    changed_.notify_all();
  }
  opening_.wake();
  connection_->wake();
}

void Republisher::disconnect() noexcept {
  opening_.take().reset();
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(joined_, false)) return;
  }
  connection_->leave(close_timeout_);
}

void Republisher::close() noexcept {
  (void)opening_.close();
  wake();
}

void Republisher::tell(Notice& notice, const Copy& copy, const std::string& fault) const {
  const auto now = Clock::now();
  if (fault == notice.fault && now < notice.told_at + reminder) return;
  notice = {fault, now};
  log(LogLevel::warning, fmt::format("the copy of a message of \"{}\" to \"{}\" is held, and tried again: {}",
                                     queue_, copy.queue, fault));
}

void Republisher::log(LogLevel level, const std::string& text) const noexcept {
  try {
    if (log_) log_(level, text);
  } catch (...) {  // an error in a log callback must not lose a message
  }
}

}  // namespace warren::inline v0::retry
