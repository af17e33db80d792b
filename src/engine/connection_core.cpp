#include "engine/connection_core.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include <warren/reply_code.hpp>

#include "engine/no_memory.hpp"
#include "engine/system.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

constexpr std::size_t smallest_outbox = 256 * 1024;

ErrorDetails ended(std::string text) { return {.text = std::move(text), .scope = ErrorScope::connection}; }

// A function, not an object: an object would be destroyed before a connection that lives until the program
// ends.
ErrorDetails closed_by_us() { return ended("the connection is closed"); }

}  // namespace

wire::LoginOptions login(const ConnectionOptions& options) {
  wire::LoginOptions login{.timeout = options.connect_timeout,
                           .proposal = {.heartbeat = options.heartbeat,
                                        .frame_max = options.frame_max,
                                        .channel_max = options.channel_max,
                                        .client_properties = options.client_properties}};
  if (!options.name.empty()) login.proposal.client_properties.set("connection_name", options.name);
  return login;
}

ConnectionCore::ConnectionCore(std::vector<Endpoint> endpoints, ConnectionOptions options)
    : endpoints_(std::move(endpoints)),
      options_(std::move(options)),
      events_(options_.log_level, options_.on_log, options_.on_state),
      outbox_(std::max(options_.outbox_bytes, smallest_outbox)),
      backoff_(options_.recovery, std::random_device()()),
      recoverables_(std::make_shared<std::vector<std::weak_ptr<Recoverable>>>()) {}

ConnectionCore::~ConnectionCore() { close(Clock::now()); }

void ConnectionCore::open() {
  if (options_.on_log || options_.on_state) events_.start();
  enter(ConnectionState::connecting);
  try {
    connect_first();
    start_threads();
  } catch (const Error& error) {
    enter(ConnectionState::failed, &error.details());
    throw;
  } catch (...) {
    const ErrorDetails error = lost_without_memory();
    enter(ConnectionState::failed, &error);
    throw;
  }
}

// Starts all threads that the connection will need. After a loss, the system might have no thread left.
void ConnectionCore::start_threads() {
  if (options_.recovery.enabled) recovery_ = start_thread("warren-recovery", [this] { recover_loop(); });
  try {
    enter(ConnectionState::open);
    io_ = start_thread("warren-io", [this] { run(); });
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    if (recovery_.joinable()) recovery_.join();
    throw;
  }
}

void ConnectionCore::connected(std::unique_ptr<wire::Transport> transport, const Endpoint& endpoint) {
  transport_ = std::move(transport);
  current_ = transport_->negotiated();
  backoff_.connected(Clock::now());
  outbox_.open(transport_->direct_writes() ? this : nullptr);
  {
    const std::lock_guard lock(mutex_);
    negotiated_ = current_;
    connected_ = true;
    drop_reason_.reset();
  }
  events_.log(LogLevel::info,
              [&] { return fmt::format("connected to {}:{}", endpoint.host, endpoint.effective_port()); });
}

wire::Negotiated ConnectionCore::negotiated() const {
  const std::lock_guard lock(mutex_);
  return negotiated_;
}

// False if the connection is closing or has ended: no other state follows.
bool ConnectionCore::enter(ConnectionState state, const ErrorDetails* error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    const bool ending = state == ConnectionState::closed || state == ConnectionState::failed;
    if (state_ == ConnectionState::closed || state_ == ConnectionState::failed) return false;
    if (state_ == ConnectionState::closing && !ending) return false;
    state_ = state;
    changed_.notify_all();
    // Called with the lock held, so that states are reported in their order.
    events_.state(state, {}, error);
  }
  return true;
}

ConnectionState ConnectionCore::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::shared_ptr<void> ConnectionCore::shared(const std::function<std::shared_ptr<void>()>& make) {
  const std::lock_guard lock(shared_mutex_);
  std::shared_ptr<void> held = shared_.lock();
  if (held == nullptr) shared_ = held = make();
  return held;
}

std::optional<std::string> ConnectionCore::blocked() const {
  const std::lock_guard lock(mutex_);
  return blocked_;
}

void ConnectionCore::raise_timeout(ErrorDetails details) const {
  const auto reason = blocked();
  if (!reason) throw TimeoutError(std::move(details));
  details.text = fmt::format("the broker blocks the connection ({}): {}", *reason, details.text);
  throw BlockedError(std::move(details));
}

void ConnectionCore::raise(const std::string& operation) const {
  ErrorDetails error = error_.value_or(closed_by_us());
  error.operation = operation;
  throw ConnectionError(std::move(error));
}

std::shared_ptr<ChannelCore> ConnectionCore::open_channel(Deadline deadline, std::weak_ptr<ChannelSink> sink,
                                                          Access access) {
  const std::string operation = "channel.open";
  std::shared_ptr<ChannelCore> channel;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (access == Access::recovery ? !connected_ : state_ != ConnectionState::open) raise(operation);
      const std::uint32_t number = free_number();
      if (number <= negotiated_.channel_max) {
        channel = std::make_shared<ChannelCore>(outbox_, static_cast<std::uint16_t>(number),
                                                negotiated_.frame_max, this);
        channels_.emplace(channel->number(), channel);
        break;
      }
      const auto limit = negotiated_.channel_max;
      const auto is_closing = [](const auto& each) { return each.second->is_closing(); };
      if (std::ranges::none_of(channels_, is_closing)) {
        throw ChannelError({.operation = operation,
                            .text = fmt::format("all {} channels are open. Close one, or raise "
                                                "ConnectionOptions::channel_max and the broker's channel_max",
                                                limit),
                            .scope = ErrorScope::channel});
      }
      if (changed_.wait_until(lock, deadline) == std::cv_status::no_timeout || Clock::now() < deadline)
        continue;
      lock.unlock();
      raise_timeout({.operation = operation,
                     .text = fmt::format("all {} channels are open or being closed, and the broker confirmed "
                                         "no close (channel.close-ok) before the deadline",
                                         limit)});
    }
  }
  channel->set_sink(std::move(sink));  // set before any event can arrive
  const auto forget = [&] {
    const std::lock_guard lock(mutex_);
    std::erase_if(channels_, [&](const auto& each) { return each.second == channel; });
  };
  ChannelCore::Call call;
  try {
    call = channel->begin(operation, id::channel_open_ok, wire::channel_open);
  } catch (...) {
    // The outbox was closed, or there is no memory: the channel.open was not sent. The number is freed, since
    // each further attempt takes another one.
    forget();
    throw;
  }
  try {
    channel->finish(call, operation, deadline);
  } catch (const TimeoutError& error) {
    channel->give_up();  // the channel may still open, and would have no owner
    raise_timeout(error.details());
  } catch (const ConnectionError&) {
    forget();
    throw;
  }
  return channel;
}

// Called with the lock held. A number is free only once its close-ok was queued to be sent; until then it is
// in the map.
std::uint32_t ConnectionCore::free_number() const {
  std::uint32_t number = 1;
  for (const auto& [taken, open] : channels_) {
    if (taken != number) break;
    ++number;
  }
  return number;
}

std::shared_ptr<ChannelCore> ConnectionCore::start_channel(std::weak_ptr<ChannelSink> sink) {
  std::shared_ptr<ChannelCore> channel;
  {
    const std::lock_guard lock(mutex_);
    if (!connected_) return nullptr;
    const std::uint32_t number = free_number();
    if (number > negotiated_.channel_max) return nullptr;
    channel = std::make_shared<ChannelCore>(outbox_, static_cast<std::uint16_t>(number),
                                            negotiated_.frame_max, this);
    channels_.emplace(channel->number(), channel);
  }
  channel->set_sink(std::move(sink));
  using Answer = ChannelCore::Answer;
  // The broker handles a channel's methods in order, so the next method finds the channel open.
  if (channel->post(id::channel_open_ok, Answer::ignored, wire::channel_open) &&
      channel->post(id::confirm_select_ok, Answer::ignored, wire::confirm_select)) {
    return channel;
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(channels_, [&](const auto& each) { return each.second == channel; });
  return nullptr;
}

ConnectionCore::Recoverables ConnectionCore::recoverables() const noexcept {
  const std::lock_guard lock(mutex_);
  return recoverables_;
}

bool ConnectionCore::begin_trial(const void* who) {
  const std::lock_guard lock(mutex_);
  if (trial_ == nullptr) trial_ = who;
  return trial_ == who;
}

void ConnectionCore::end_trial(const void* who) {
  {
    const std::lock_guard lock(mutex_);
    if (trial_ != who) return;
    trial_ = nullptr;
  }
  const Recoverables all = recoverables();  // a copy: add() may replace the list meanwhile
  for (const auto& each : *all) {
    if (const auto recoverable = each.lock()) recoverable->on_trial_over();
  }
}

std::optional<ErrorDetails> ConnectionCore::why_not_open() const noexcept {
  const std::lock_guard lock(mutex_);
  if (!error_) return std::nullopt;
  return kept(*error_);
}

std::vector<std::shared_ptr<ChannelCore>> ConnectionCore::open_channels() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ChannelCore>> open;
  for (const auto& [number, channel] : channels_) open.push_back(channel);
  return open;
}

void ConnectionCore::close(Deadline deadline) noexcept {
  if (process_.is_left()) return;
  {
    const std::lock_guard lock(mutex_);
    close_deadline_ = std::min(close_deadline_, deadline);
  }
  if (enter(ConnectionState::closing)) {
    try {
      for (const auto& channel : open_channels())
        channel->give_back_unsettled();  // also sends the acknowledgements that wait for a tick
    } catch (...) {                      // no memory for the list: the broker requeues the messages anyway
    }
    try {
      outbox_.append(Outbox::Entry::control,
                     [](Bytes& out) { wire::connection_close(out, reply_code::success, "bye"); });
    } catch (...) {  // no memory: the connection ends without a connection.close
      outbox_.break_off();
    }
  }
  outbox_.wakeup().wake();
  {
    const std::lock_guard lock(join_mutex_);
    if (io_.joinable()) io_.join();
    if (recovery_.joinable()) recovery_.join();
  }
  events_.close(deadline);
}

void ConnectionCore::fail_channels(const ErrorDetails& error) noexcept {
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels;
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
    blocked_.reset();
    is_blocked_ = false;
    changed_.notify_all();
    channels.swap(channels_);
    tick_requests_.clear();
  }
  for (const auto& [number, channel] : channels) channel->fail(error);
}

// `error` is null if this client closed the connection.
void ConnectionCore::end(const ErrorDetails* error) noexcept {
  ErrorDetails reason = lost_without_memory();
  if (error != nullptr) {
    reason = kept(*error);
  } else {
    reason.text = text_or_no_memory([] { return closed_by_us().text; });
  }
  {
    const std::lock_guard lock(mutex_);
    error_ = kept(reason);
    recovering_ = false;
    ended_ = true;
  }
  // The state is set first, so that a sink that hears of its channel's end finds the connection ended.
  if (error != nullptr) {
    events_.log(LogLevel::error,
                [&] { return fmt::format("the connection has failed: {}", Error(reason).what()); });
    enter(ConnectionState::failed, &reason);
  } else {
    events_.log(LogLevel::info, [] { return "the connection is closed"; });
    enter(ConnectionState::closed);
  }
  fail_channels(reason);
  Recoverables last;
  {
    const std::lock_guard lock(mutex_);
    last = recoverables_;
    changed_.notify_all();
  }
  for (const auto& each : *last) {
    if (const auto recoverable = each.lock()) recoverable->abandon(reason);
  }
}

bool ConnectionCore::request_tick(std::shared_ptr<ChannelCore> channel) noexcept {
  {
    const std::lock_guard lock(mutex_);
    try {
      tick_requests_.push_back(std::move(channel));
    } catch (...) {
      return false;
    }
    tick_requested_.store(true, std::memory_order_release);
  }
  outbox_.wakeup().wake();
  return true;
}

}  // namespace warren::inline v0::engine
