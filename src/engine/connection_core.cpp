#include "engine/connection_core.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>

#include "wire/malformed.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;
using namespace std::chrono_literals;

constexpr std::size_t bytes_per_turn = 512 * 1024;
constexpr std::size_t read_ahead = 64 * 1024;

// Signals are for the application's threads.
std::thread start_without_signals(auto&& body) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(body);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

ErrorDetails lost(std::string text, std::uint16_t code = 0) {
  return {.code = code, .text = std::move(text), .scope = ErrorScope::connection};
}

}  // namespace

// What one run of the loop keeps between its turns.
struct ConnectionCore::Turn {
  explicit Turn(std::size_t frame_max) : input(frame_max + read_ahead) {}

  Bytes output;
  std::size_t written = 0;
  std::vector<char> input;
  std::size_t begin = 0;  // of what was read and not dispatched
  std::size_t end = 0;
  bool more_to_read = false;
  Deadline last_sent = Clock::now();
  Deadline last_received = last_sent;
};

ConnectionCore::ConnectionCore(CoreOptions options)
    : options_(std::move(options)), outbox_(std::max(options_.outbox_bytes, std::size_t{256} * 1024)) {}

ConnectionCore::~ConnectionCore() { close(Clock::now()); }

void ConnectionCore::open() {
  std::optional<ErrorDetails> last;
  for (const Endpoint& endpoint : options_.endpoints) {
    try {
      transport_ = wire::Transport::connect(endpoint, options_.login);
      break;
    } catch (const ConnectionError& error) {
      last = error.details();
    }
  }
  if (!transport_) {
    throw ConnectionError(last.value_or(ErrorDetails{.operation = "connect", .text = "no endpoint was given"}));
  }
  outbox_.open(this);
  state_ = State::open;
  io_ = start_without_signals([this] { run(); });
}

ConnectionCore::State ConnectionCore::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::optional<std::string> ConnectionCore::blocked() const {
  const std::lock_guard lock(mutex_);
  return blocked_;
}

void ConnectionCore::raise(const std::string& operation) const {
  ErrorDetails details = error_.value_or(lost("the connection is closed"));
  details.operation = operation;
  throw ConnectionError(std::move(details));
}

std::shared_ptr<ChannelCore> ConnectionCore::open_channel(Deadline deadline) {
  const std::string operation = "channel.open";
  std::shared_ptr<ChannelCore> channel;
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::open) raise(operation);
    // A number is free only once its close-ok is on its way: it is in the map until then.
    std::uint32_t number = 1;
    for (const auto& [taken, open] : channels_) {
      if (taken != number) break;
      ++number;
    }
    if (number > transport_->negotiated().channel_max) {
      throw ChannelError({.operation = operation,
                          .text = fmt::format("all {} channels are open", transport_->negotiated().channel_max)});
    }
    channel = std::make_shared<ChannelCore>(outbox_, static_cast<std::uint16_t>(number));
    channels_.emplace(channel->number(), channel);
  }
  channel->call(operation, id::channel_open_ok, deadline, wire::channel_open);
  return channel;
}

void ConnectionCore::close_channel(ChannelCore& channel, Deadline deadline) {
  if (!channel.is_open()) return;
  channel.call("channel.close", id::channel_close_ok, deadline,
               [](Bytes& out, std::uint16_t number) { wire::channel_close(out, number, 200, "bye"); });
}

void ConnectionCore::close(Deadline deadline) noexcept {
  {
    const std::lock_guard lock(mutex_);
    close_deadline_ = std::min(close_deadline_, deadline);
    if (state_ == State::open) {
      state_ = State::closing;
      outbox_.append(Outbox::Entry::control, [](Bytes& out) { wire::connection_close(out, 200, "bye"); });
    }
  }
  outbox_.wakeup().wake();
  if (io_.joinable() && io_.get_id() != std::this_thread::get_id()) io_.join();
}

// Called by whoever appends, with the outbox's lock held.
std::size_t ConnectionCore::write(const char* data, std::size_t size) noexcept {
  const auto result = transport_->write(data, size);
  return result.status == wire::Transport::Status::ok ? result.bytes : 0;
}

void ConnectionCore::run() noexcept {
  try {
    loop();
    end(lost("the connection is closed"));
  } catch (const wire::MalformedFrame& fault) {
    end(lost(fmt::format("the broker broke the protocol: {}", fault.what()), 501));
  } catch (const Error& error) {
    end(error.details());
  } catch (const std::exception& error) {
    end(lost(error.what()));
  }
}

void ConnectionCore::end(const ErrorDetails& error) {
  outbox_.close();
  std::map<std::uint16_t, std::shared_ptr<ChannelCore>> channels;
  {
    const std::lock_guard lock(mutex_);
    state_ = State::closed;
    if (!error_) error_ = error;
    channels.swap(channels_);
  }
  for (const auto& [number, channel] : channels) channel->fail(*error_);
  changed_.notify_all();
}

void ConnectionCore::loop() {
  Turn turn(transport_->negotiated().frame_max);
  const auto heartbeat = std::chrono::duration_cast<Clock::duration>(transport_->negotiated().heartbeat);
  for (;;) {
    while (write_pending(turn)) {
    }
    const auto now = Clock::now();
    if (heartbeat > 0s) {
      if (now - turn.last_received > 2 * heartbeat) {
        throw ConnectionError(lost("the broker was silent for two heartbeats"));
      }
      if (now - turn.last_sent >= heartbeat / 2 && turn.output.empty()) {
        outbox_.append(Outbox::Entry::control, [](Bytes& out) { wire::append_heartbeat(out); });
        turn.last_sent = now;
        continue;
      }
    }
    {
      const std::lock_guard lock(mutex_);
      if (state_ == State::closed || (state_ != State::open && now >= close_deadline_)) return;
    }
    wait(turn);
    read(turn);
  }
}

// True where all was written and there may be more to take.
bool ConnectionCore::write_pending(Turn& turn) {
  if (turn.output.empty() && !outbox_.take(turn.output)) return false;
  while (turn.written < turn.output.size()) {
    const auto result = transport_->write(turn.output.data() + turn.written, turn.output.size() - turn.written);
    if (result.status == wire::Transport::Status::would_block) return false;
    // What the broker said before it closed is still to be read: let the reader meet the end.
    if (result.status == wire::Transport::Status::closed) break;
    turn.written += result.bytes;
    turn.last_sent = Clock::now();
  }
  turn.output.clear();
  turn.written = 0;
  return true;
}

void ConnectionCore::wait(Turn& turn) {
  pollfd descriptors[2] = {{transport_->descriptor(), POLLIN, 0}, {outbox_.wakeup().descriptor(), POLLIN, 0}};
  if (!turn.output.empty()) descriptors[0].events |= POLLOUT;
  auto next = Deadline::max();
  if (const auto heartbeat = transport_->negotiated().heartbeat; heartbeat > 0s) {
    next = std::min(turn.last_received + 2 * heartbeat + 1ms, Clock::now() + heartbeat / 2);
  }
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::closing) next = std::min(next, close_deadline_);
  }
  int timeout = -1;
  if (turn.more_to_read) {
    timeout = 0;
  } else if (next != Deadline::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    timeout = static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
  }
  if (::poll(descriptors, 2, timeout) > 0 && (descriptors[1].revents & POLLIN) != 0) outbox_.wakeup().clear();
  outbox_.awake();
}

void ConnectionCore::read(Turn& turn) {
  turn.more_to_read = false;
  for (std::size_t total = 0; total < bytes_per_turn;) {
    const auto result = transport_->read(turn.input.data() + turn.end, turn.input.size() - turn.end);
    if (result.status == wire::Transport::Status::would_block) return;
    if (result.status == wire::Transport::Status::closed) {
      const std::lock_guard lock(mutex_);
      throw ConnectionError(error_.value_or(lost("the broker closed the connection, or it was lost")));
    }
    total += result.bytes;
    turn.end += result.bytes;
    turn.last_received = Clock::now();
    std::string_view input(turn.input.data() + turn.begin, turn.end - turn.begin);
    while (const auto frame = wire::next_frame(input, transport_->negotiated().frame_max)) dispatch(*frame);
    turn.begin = turn.end - input.size();
    // Room for one whole frame must stay.
    std::copy(turn.input.begin() + static_cast<std::ptrdiff_t>(turn.begin),
              turn.input.begin() + static_cast<std::ptrdiff_t>(turn.end), turn.input.begin());
    turn.end -= turn.begin;
    turn.begin = 0;
  }
  turn.more_to_read = true;
}

void ConnectionCore::dispatch(const wire::Frame& frame) {
  if (frame.type == wire::FrameType::heartbeat) return;
  if (frame.channel == 0) {
    if (frame.type != wire::FrameType::method) throw wire::MalformedFrame("a message on channel 0");
    on_connection_method(decoder_.decode(frame.payload));
    return;
  }
  std::shared_ptr<ChannelCore> channel;
  {
    const std::lock_guard lock(mutex_);
    const auto found = channels_.find(frame.channel);
    if (found == channels_.end()) throw wire::MalformedFrame("a frame for a channel that is not open");
    channel = found->second;
  }
  const ChannelCore::After after = channel->on_frame(frame, decoder_);
  if (after == ChannelCore::After::nothing) return;
  // The channel refuses writers from here on, so that nothing can follow its close-ok.
  if (after == ChannelCore::After::send_close_ok) {
    outbox_.append(Outbox::Entry::control, [&](Bytes& out) { wire::channel_close_ok(out, frame.channel); });
  }
  const std::lock_guard lock(mutex_);
  channels_.erase(frame.channel);
}

void ConnectionCore::on_connection_method(const wire::InboundMethod& method) {
  switch (method.id) {
    case id::connection_close: {
      const bool permanent = method.code == 403 || method.code == 530;
      ErrorDetails error = lost(std::string(method.text), method.code);
      error.permanent = permanent;
      Bytes answer;
      wire::connection_close_ok(answer);
      (void)transport_->write(answer.data(), answer.size());
      throw ConnectionError(std::move(error));
    }
    case id::connection_close_ok: {
      const std::lock_guard lock(mutex_);
      state_ = State::closed;
      return;
    }
    case id::connection_blocked: {
      const std::lock_guard lock(mutex_);
      blocked_ = std::string(method.text);
      return;
    }
    case id::connection_unblocked: {
      const std::lock_guard lock(mutex_);
      blocked_.reset();
      return;
    }
    default:
      throw wire::MalformedFrame("an unexpected method on channel 0");
  }
}

}  // namespace warren::inline v0::engine
