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
constexpr auto admission_timeout = 5s;  // for room in the window, or a channel in place of a closed one
constexpr auto confirm_timeout = 30s;
constexpr auto confirm_slice = 200ms;  // how often `stop` is asked while a confirm is awaited
constexpr auto confirm_grace = 2s;     // for a confirm once `stop` has said so
constexpr auto reminder = 1min;        // between two log lines on one and the same fault
constexpr auto own_close_timeout = 2s;
constexpr std::string_view blocked_text = "the broker blocks publishing: ";

// The broker would read nothing before the alarm is over, and answer nothing: better to pause where wake() is
// heard.
void refuse_if_blocked(const Connection& connection) {
  if (const auto reason = connection.blocked())
    throw BlockedError({.operation = "basic.publish", .text = std::string(blocked_text) + *reason});
}

}  // namespace

// What one send() tells of: a fault once, when it is another one, and then each minute.
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

Republisher::Republisher(Connect connect, RetryPolicy policy, std::string queue, Log log, Resolve resolve)
    : Republisher(std::make_shared<PublishingConnection>(std::move(connect)), own_close_timeout,
                  std::move(policy), std::move(queue), std::move(log), std::move(resolve)) {}

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

// One try; where a queue or the exchange is missing, a second one once they are declared anew. False where
// `stop` said so first.
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

// Where its headers do not fit, as often as there is something to take off.
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

// As the message came: without the header by which the publisher recognises a return, and, where that one
// byte is still too much, as transient as it was.
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

// Returns true once confirmed, false where `stop` said so first; else throws.
bool Republisher::await(const Link& link, Confirmation& confirmation, const Copy& copy, const Stop& stop,
                        Notice& notice) const {
  auto deadline = Clock::now() + confirm_timeout;
  std::optional<Clock::time_point> leave_by;
  const auto is_confirmed = [&] {
    try {
      return confirmation.wait_for(confirm_slice);
    } catch (const TimeoutError&) {  // past the deadline of its admission; the confirm may still come
      return false;
    }
  };
  for (;;) {
    if (is_confirmed()) return true;
    const auto now = Clock::now();
    // The first publish after an alarm began is what the broker answers by blocking. It is still under way.
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

// Null if `stop` said so first, or if this was closed.
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
  refuse_if_blocked(*connection);  // another sender's copies may have been the first ones
  return std::make_shared<Link>(std::move(connection),
                                PublisherOptions{.exchange = policy_.options().exchange});
}

// False where `stop` says so, or this was closed.
bool Republisher::pause(std::chrono::milliseconds delay, const Stop& stop) {
  const auto until = Clock::now() + delay;
  for (;;) {
    std::uint64_t wakes = 0;
    {
      const std::lock_guard lock(mutex_);
      wakes = wakes_;
    }
    if (is_over(stop)) return false;  // a wake from here on is seen below
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
  } catch (...) {  // what goes wrong in a log is no reason to lose a message
  }
}

}  // namespace warren::inline v0::retry
