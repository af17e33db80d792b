#include "engine/lone_publish.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include <warren/error.hpp>

#include "engine/channel_core.hpp"
#include "engine/no_memory.hpp"
#include "engine/request.hpp"
#include "wire/frame.hpp"

namespace warren::inline v0::engine {
namespace {

using namespace std::chrono_literals;

using Clock = std::chrono::steady_clock;

constexpr const char* operation = "basic.publish";
constexpr auto slice = 200ms;  // the interval at which `stop` is asked

// The outcome of the only message that its channel publishes.
class Outcome final : public ChannelSink {
 public:
  enum class State : std::uint8_t { pending, confirmed, nacked, returned, closed };

  // False if the outcome is still pending.
  bool wait_until(Clock::time_point until) {
    std::unique_lock lock(mutex_);
    return settled_.wait_until(lock, until, [&] { return is_settled_; });
  }
  // Throws unless the message is confirmed.
  void check() const {
    const std::lock_guard lock(mutex_);
    switch (state_) {
      case State::nacked:
        throw NackedError({.operation = operation,
                           .text = "the broker refused the message (basic.nack)",
                           .in_doubt = true});
      case State::returned:
        throw ReturnedError(error_);
      case State::closed:
        if (error_.scope == ErrorScope::connection) throw ConnectionError(error_);
        throw ChannelError(error_);
      default:
        return;
    }
  }

 private:
  void on_return(ContentAssembler::ContentPtr content) override {
    const std::lock_guard lock(mutex_);
    state_ = State::returned;  // the message's confirm follows
    error_ = {
        .operation = operation,
        .code = content->code,
        .text = fmt::format("{}: no queue is bound to exchange \"{}\" for routing key \"{}\"", content->text,
                            content->delivery.exchange(), content->delivery.routing_key())};
  }
  bool on_confirm(std::uint64_t tag, bool /*multiple*/, bool acknowledged) override {
    const std::lock_guard lock(mutex_);
    if (tag != 1) return false;
    if (state_ == State::pending) state_ = acknowledged ? State::confirmed : State::nacked;
    settle();
    return true;
  }
  void on_closed(const ErrorDetails& error) noexcept override {
    const std::lock_guard lock(mutex_);
    if (is_settled_) return;
    state_ = State::closed;
    error_ = kept(error);
    error_.operation = operation;
    error_.in_doubt = error.scope == ErrorScope::connection;
    settle();
  }
  void settle() {
    is_settled_ = true;
    settled_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable settled_;
  State state_ = State::pending;
  bool is_settled_ = false;
  ErrorDetails error_;
};

// Closes the channel in its destructor, also after an exception.
class Opened {
 public:
  Opened(ConnectionCore& connection, Clock::time_point deadline, const std::shared_ptr<Outcome>& outcome)
      : channel(connection.open_channel(deadline, outcome)) {}
  ~Opened() { channel->give_up(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  const std::shared_ptr<ChannelCore> channel;
};

}  // namespace

bool publish_alone(const std::shared_ptr<ConnectionCore>& connection, const std::string& exchange,
                   const std::string& routing_key, const Message& message, Clock::time_point deadline,
                   const std::function<bool()>& stop) {
  const auto outcome = std::make_shared<Outcome>();
  const auto answer_by = std::min(deadline, connection->operation_deadline());
  connection->await_open(operation, answer_by);
  const Opened opened(*connection, answer_by, outcome);
  ChannelCore& channel = *opened.channel;
  ask(channel, request::confirm_select(), answer_by);
  const auto encode = [&](wire::Bytes& out, std::uint16_t number) {
    wire::append_content(out, number, exchange, routing_key, true, message.properties(), std::nullopt,
                         message.body(), channel.frame_max());
  };
  while (!channel.send(operation, Outbox::Entry::bulk, encode)) {
    if (!connection->outbox().wait_for_space(deadline)) {
      throw TimeoutError({.operation = operation, .text = "not sent: no room to write before the deadline"});
    }
  }
  while (!outcome->wait_until(std::min(Clock::now() + slice, deadline))) {
    if (Clock::now() >= deadline) {
      connection->raise_timeout(
          {.operation = operation, .text = "no confirm before the deadline", .in_doubt = true});
    }
    if (stop && stop()) return false;
  }
  outcome->check();
  return true;
}

}  // namespace warren::inline v0::engine
