// The I/O thread of a ConnectionCore: how it writes, reads and dispatches in each turn.

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include <warren/printable.hpp>

#include "engine/connection_core.hpp"
#include "engine/no_memory.hpp"
#include "engine/system.hpp"
#include "wire/malformed.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;
using namespace std::chrono_literals;

// The most bytes of each direction in one turn, so that neither direction starves the other.
constexpr std::size_t bytes_per_turn = 512 * 1024;
constexpr std::size_t read_ahead = 64 * 1024;
// The first size of the read buffer: a whole frame with RabbitMQ's default frame_max, and read_ahead.
constexpr std::size_t first_input = std::size_t{192} << 10;
// The most bytes of answers that the broker has caused and not read, in addition to the answers for
// consumers' deliveries.
constexpr std::size_t most_answers = std::size_t{1} << 20;

ErrorDetails lost(std::string text, std::uint16_t code = 0) {
  return {.code = code, .text = std::move(text), .scope = ErrorScope::connection};
}

}  // namespace

// The data that one run of the loop keeps between its turns.
struct ConnectionCore::Turn {
  Turn(Outbox& from, std::size_t frame_max)
      : outbox(from), usual_size(frame_max + read_ahead), input(std::min(usual_size, first_input)) {}
  ~Turn() { outbox.discard(output); }  // under the outbox's lock, since take() releases frames
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  // Moves the bytes that are not dispatched to the front. The buffer grows with the bytes that have arrived
  // for a frame, since a frame's length field alone is no proof. It shrinks again after a header above
  // frame_max.
  void keep(std::string_view rest) {
    const std::size_t needed = wire::frame_size(rest);
    std::size_t size = std::min(input.size(), std::max(usual_size, needed));
    if (needed > size && size - rest.size() < read_ahead) size = std::min(needed + read_ahead, 2 * size);
    if (size == input.size()) {
      std::copy(rest.begin(), rest.end(), input.begin());
    } else {
      std::vector<char> resized(size);
      std::copy(rest.begin(), rest.end(), resized.begin());
      input.swap(resized);
    }
    end = rest.size();
  }

  Outbox& outbox;
  Output output;
  bool outbox_empty = false;
  const std::size_t usual_size;
  std::vector<char> input;
  std::size_t end = 0;                   // the end of the bytes that were read and not dispatched
  bool more_to_read = true;              // bytes may already have followed the login
  std::shared_ptr<ChannelCore> channel;  // the channel of the last frame, and usually of the next
  std::set<std::uint16_t> refused;       // numbers that the broker closed, until their next open-ok
  std::vector<std::shared_ptr<ChannelCore>> arrivals;
  std::vector<std::shared_ptr<ChannelCore>> ticking;
  Deadline tick_at = Deadline::max();
  Deadline last_sent = Clock::now();
  Deadline last_received = last_sent;
};

// Called by the thread that appends, with the outbox's lock held.
std::size_t ConnectionCore::write(std::span<const std::string_view> chunks) noexcept {
  const auto result = transport_->write(chunks);
  return result.status == wire::Transport::Status::ok ? result.bytes : 0;
}

void ConnectionCore::run() noexcept {
  for (;;) {
    std::optional<ErrorDetails> error = run_until_lost();
    outbox_.close();
    transport_.reset();  // no thread writes any more
    if (error && lose(*error)) {
      error = reconnect(std::move(*error));
      if (!error && state() != ConnectionState::closing) continue;
      outbox_.close();  // close() may have been called after the login
      transport_.reset();
    }
    if (state() == ConnectionState::closing) error.reset();
    return end(error ? &*error : nullptr);
  }
}

// Returns nullopt if this client closed the connection.
std::optional<ErrorDetails> ConnectionCore::run_until_lost() noexcept {
  std::optional<ErrorDetails> error = lost_without_memory();
  try {
    loop();
  } catch (const wire::MalformedFrame& fault) {
    error->text =
        text_or_no_memory([&] { return fmt::format("the broker broke the protocol: {}", fault.what()); });
  } catch (const ConnectionError& failure) {
    error = kept(failure.details());
  } catch (const std::bad_alloc&) {
  } catch (const std::exception& failure) {  // an error that the broker caused ends only this connection
    error->text = text_or_no_memory([&] { return failure.what(); });
  }
  if (state() == ConnectionState::closing) error.reset();
  return error;
}

void ConnectionCore::loop() {
  Turn turn(outbox_, current_.frame_max);
  for (;;) {
    write_pending(turn);
    if (outbox_.unread_answers() > most_answers) check_answers();
    keep_alive(turn);
    {
      const std::lock_guard lock(mutex_);
      if (state_ == ConnectionState::closing && Clock::now() >= close_deadline_) return;
      if (drop_reason_) throw ConnectionError(lost(*std::exchange(drop_reason_, std::nullopt)));
    }
    if (outbox_.is_broken_off()) throw ConnectionError(lost(no_memory));
    wait(turn);
    read(turn);
    hand_over(turn);
  }
}

void ConnectionCore::write_pending(Turn& turn) {
  for (std::size_t total = 0; total < bytes_per_turn;) {
    if (turn.output.empty()) {
      turn.outbox_empty = !outbox_.take(turn.output);
      if (turn.outbox_empty) return;
    }
    Output::Chunks chunks;
    const std::size_t count = turn.output.chunks(chunks);
    const auto result = transport_->write({chunks.data(), count});
    if (result.status == wire::Transport::Status::would_block) return;
    if (result.status == wire::Transport::Status::ok) {
      turn.output.advance(result.bytes);
      outbox_.wrote(result.bytes);
      total += result.bytes;
      turn.last_sent = Clock::now();
      continue;
    }  // closed: the broker's last bytes must still be read, and the reader then meets the end
    outbox_.discard(turn.output);
    return;
  }
}

// Throws if the broker causes more answers than it reads. While the broker blocks, consumers'
// acknowledgements may wait, but not for more deliveries than a correct broker may have made.
void ConnectionCore::check_answers() {
  std::size_t most = most_answers;
  for (const auto& channel : open_channels()) most += channel->most_answers();
  const std::size_t unread = outbox_.unread_answers();
  if (unread <= most) return;
  throw wire::MalformedFrame(fmt::format("it causes answers and does not read them: {} bytes wait", unread));
}

void ConnectionCore::keep_alive(Turn& turn) {
  const std::chrono::milliseconds heartbeat = current_.heartbeat;  // in finer units, since it is halved
  if (heartbeat == 0s) return;
  const auto now = Clock::now();
  if (now - turn.last_received > 2 * heartbeat) {
    throw ConnectionError(lost("the broker was silent for two heartbeats"));
  }
  // While bytes wait for the broker to read them, a heartbeat would have no effect.
  if (now - turn.last_sent < heartbeat / 2 || !turn.output.empty()) return;
  outbox_.append(Outbox::Entry::control, [](Bytes& out) { wire::append_heartbeat(out); });
  turn.last_sent = now;
  turn.outbox_empty = false;
}

void ConnectionCore::wait(Turn& turn) {
  auto timeout = 0ms;
  if (!turn.more_to_read && (turn.outbox_empty || !turn.output.empty())) {
    auto next = turn.tick_at;
    if (const std::chrono::milliseconds heartbeat = current_.heartbeat; heartbeat > 0s) {
      next = std::min(next, turn.last_received + 2 * heartbeat + 1ms);
      if (turn.output.empty()) next = std::min(next, turn.last_sent + heartbeat / 2);
    }
    {
      const std::lock_guard lock(mutex_);
      if (state_ == ConnectionState::closing) next = std::min(next, close_deadline_);
    }
    timeout = next == Deadline::max()
                  ? -1ms
                  : std::max(std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()), 0ms);
  }
  outbox_.wakeup().wait(transport_->descriptor(), transport_->wants_write(!turn.output.empty()), timeout);
  outbox_.awake();
}

void ConnectionCore::read(Turn& turn) {
  turn.more_to_read = false;
  for (std::size_t total = 0; total < bytes_per_turn;) {
    const std::size_t room = turn.input.size() - turn.end;
    const auto result = transport_->read(turn.input.data() + turn.end, room);
    if (result.status == wire::Transport::Status::would_block) return;
    if (result.status == wire::Transport::Status::closed) {
      if (const char* fault = transport_->fault()) throw wire::MalformedFrame(fault);
      throw ConnectionError(lost("the broker closed the connection, or it was lost"));
    }
    total += result.bytes;
    turn.end += result.bytes;
    turn.last_received = Clock::now();
    outbox_.heard();
    std::string_view input(turn.input.data(), turn.end);
    while (const auto frame = wire::next_frame(input, current_.frame_max)) dispatch(turn, *frame);
    turn.keep(input);
    if (result.bytes < room) return;
  }
  turn.more_to_read = true;
}

void ConnectionCore::hand_over(Turn& turn) {
  const auto start_ticking = [&](const std::shared_ptr<ChannelCore>& channel) {
    const bool ticks = std::find(turn.ticking.begin(), turn.ticking.end(), channel) != turn.ticking.end();
    if (!ticks) turn.ticking.push_back(channel);
  };
  for (const auto& channel : turn.arrivals) {
    if (channel->end_turn()) start_ticking(channel);
  }
  turn.arrivals.clear();
  if (tick_requested_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(mutex_);
    tick_requested_ = false;
    for (const auto& channel : tick_requests_) start_ticking(channel);
    tick_requests_.clear();
  }
  if (turn.ticking.empty()) return;
  const auto now = Clock::now();
  if (turn.tick_at == Deadline::max()) turn.tick_at = now + ack_delay;
  if (now < turn.tick_at) return;
  std::erase_if(turn.ticking, [](const auto& channel) { return !channel->tick(); });
  turn.tick_at = turn.ticking.empty() ? Deadline::max() : now + ack_delay;
}

// Whether a frame is for a channel that is gone. For example, RabbitMQ 4.3 still sends deliveries after its
// own channel.close. Frames for a number that the broker closed are late until the number's next open-ok.
bool ConnectionCore::is_late(Turn& turn, const wire::Frame& frame) {
  const auto refused = turn.refused.find(frame.channel);
  if (refused == turn.refused.end()) return false;
  if (frame.type != wire::FrameType::method) return true;
  switch (wire::method_id(frame.payload)) {
    case id::channel_open_ok:
      turn.refused.erase(refused);
      return false;
    case id::channel_close:
    case id::channel_close_ok:
      return false;
    default:
      return true;
  }
}

void ConnectionCore::dispatch(Turn& turn, const wire::Frame& frame) {
  if (frame.type == wire::FrameType::heartbeat) return;
  if (frame.channel == 0) {
    if (frame.type != wire::FrameType::method) throw wire::MalformedFrame("a message on channel 0");
    on_connection_method(decoder_.decode(frame.payload));
    return;
  }
  if (!turn.channel || turn.channel->number() != frame.channel) {
    if (!turn.refused.empty() && is_late(turn, frame)) return;
    const std::lock_guard lock(mutex_);
    const auto found = channels_.find(frame.channel);
    if (found == channels_.end()) throw wire::MalformedFrame("a frame for a channel that is not open");
    turn.channel = found->second;
  }
  const bool had_arrivals = turn.channel->has_arrivals();
  const ChannelCore::After after = turn.channel->on_frame(frame, decoder_);
  if (!had_arrivals && turn.channel->has_arrivals()) turn.arrivals.push_back(turn.channel);
  if (after == ChannelCore::After::nothing) return;
  if (after != ChannelCore::After::closed) turn.refused.insert(frame.channel);
  // The channel refuses writers from here on, so that nothing can follow its close-ok.
  if (after != ChannelCore::After::closed) {
    outbox_.append(Outbox::Entry::answer, [&](Bytes& out) { wire::channel_close_ok(out, frame.channel); });
  }
  const std::shared_ptr<ChannelCore> channel = std::move(turn.channel);
  if (after == ChannelCore::After::answer_close) return;
  {
    const std::lock_guard lock(mutex_);
    channels_.erase(frame.channel);
    changed_.notify_all();  // for threads that wait for a number
  }
  channel->fail_waiters();
  if (after == ChannelCore::After::send_close_ok) channel->forgotten();
}

void ConnectionCore::on_connection_method(const wire::InboundMethod& method) {
  switch (method.id) {
    case id::connection_close: {
      ErrorDetails error = lost(std::string(method.text), method.code);
      error.permanent = wire::is_permanent_close(method.code, method.text);
      Bytes answer;
      wire::connection_close_ok(answer);
      const std::string_view chunk(answer.data(), answer.size());
      (void)transport_->write({&chunk, 1});
      throw ConnectionError(std::move(error));
    }
    case id::connection_close_ok:
      if (state() != ConnectionState::closing) throw wire::MalformedFrame("a close-ok that nobody asked for");
      {
        const std::lock_guard lock(mutex_);
        close_deadline_ = Clock::now();  // there is nothing left to wait for
      }
      return;
    case id::connection_blocked:
      return on_blocked(printable(method.text));
    case id::connection_unblocked:
      return on_blocked(std::nullopt);
    default:
      throw wire::MalformedFrame("an unexpected method on channel 0");
  }
}

void ConnectionCore::on_blocked(std::optional<std::string> reason) {
  {
    const std::lock_guard lock(mutex_);
    if (reason == blocked_) return;
    blocked_ = reason;
    is_blocked_ = reason.has_value();
    changed_.notify_all();
    events_.state(state_, reason);
  }
  events_.log(LogLevel::warning, [&] {
    return reason ? fmt::format("the broker blocks publishing: {}", *reason)
                  : std::string("the broker takes publishes again");
  });
  if (reason) return;
  for (const auto& channel : open_channels()) channel->unblocked();
}

}  // namespace warren::inline v0::engine
