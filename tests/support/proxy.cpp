#include "support/proxy.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <tuple>

namespace support {
namespace {

constexpr std::size_t most_held = 256 * 1024;  // in one direction, before the sender must wait
constexpr std::size_t no_limit = SIZE_MAX;

std::size_t index(Direction direction) { return direction == Direction::to_broker ? 0 : 1; }

}  // namespace

// One direction of a link.
struct Proxy::Pipe {
  FrameReader reader;
  std::string held{};
  bool stalled = false;
  bool ended = false;  // the sender sent FIN
  bool end_passed = false;
  bool broken = false;  // reset, or the receiver is gone
  bool garble = false;
  std::deque<std::pair<Clock::time_point, std::size_t>>
      delayed{};                  // the last bytes of held: when each may go
  Clock::time_point next_send{};  // while throttled
  std::size_t cut_after = no_limit;
  std::size_t stall_after = no_limit;
  End cut_how = End::reset;
};

struct Proxy::Link {
  Link(std::size_t index, Descriptor client_end, Descriptor broker_end)
      : number(index),
        client(std::move(client_end)),
        broker(std::move(broker_end)),
        pipes{{FrameReader(Direction::to_broker, index)}, {FrameReader(Direction::to_client, index)}} {}

  std::size_t number;
  Descriptor client;
  Descriptor broker;
  Pipe pipes[2];
  std::optional<End> ending{};
  std::optional<End> stranding{};
};

Proxy::Proxy(warren::Endpoint broker) : broker_(std::move(broker)) {
  std::tie(listener_, port_) = listen_here();
  std::tie(wake_read_, wake_write_) = make_pipe();
  thread_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  for (const auto& link : links_) end(*link, End::reset);
}

warren::Endpoint Proxy::endpoint() const {
  warren::Endpoint endpoint = broker_;
  endpoint.host = "127.0.0.1";
  endpoint.port = port_;
  return endpoint;
}

void Proxy::wake() const { (void)!::write(wake_write_.get(), "", 1); }

// Waits for the end of the thread's next turn, which sees what was changed under this lock.
void Proxy::act(std::unique_lock<std::mutex> lock) {
  const std::uint64_t before = turns_;
  wake();
  turned_.wait(lock, [&] { return turns_ > before; });
}

void Proxy::cut(End how, std::optional<std::size_t> number) {
  std::unique_lock lock(mutex_);
  for (const auto& link : links_) {
    if (!number || *number == link->number) link->ending = how;
  }
  act(std::move(lock));
}

void Proxy::cut_after(Direction direction, std::size_t bytes, End how) {
  std::unique_lock lock(mutex_);
  for (const auto& link : links_) {
    link->pipes[index(direction)].cut_after = bytes;
    link->pipes[index(direction)].cut_how = how;
  }
  act(std::move(lock));
}

void Proxy::cut_new_after(Direction direction, std::size_t bytes, End how) {
  const std::lock_guard lock(mutex_);
  cut_new_after_[index(direction)] = bytes;
  cut_new_how_ = how;
}

void Proxy::stall_new_after(Direction direction, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  stall_new_after_[index(direction)] = bytes;
}

void Proxy::stall(Direction direction, std::optional<std::size_t> number) {
  std::unique_lock lock(mutex_);
  if (!number) stalled_[index(direction)] = true;
  for (const auto& link : links_) {
    if (number && *number == link->number) link->pipes[index(direction)].stalled = true;
  }
  act(std::move(lock));
}

void Proxy::stall() {
  stall(Direction::to_broker);
  stall(Direction::to_client);
}

void Proxy::strand(End how) {
  std::unique_lock lock(mutex_);
  for (const auto& link : links_) link->stranding = how;
  act(std::move(lock));
}

void Proxy::garble(Direction direction) {
  std::unique_lock lock(mutex_);
  for (const auto& link : links_) link->pipes[index(direction)].garble = true;
  act(std::move(lock));
}

void Proxy::delay(std::chrono::milliseconds delay) {
  std::unique_lock lock(mutex_);
  delay_ = delay;
  act(std::move(lock));
}

void Proxy::throttle(std::size_t bytes_a_second) {
  std::unique_lock lock(mutex_);
  throttle_ = bytes_a_second;
  act(std::move(lock));
}

void Proxy::resume() {
  std::unique_lock lock(mutex_);
  stranded_.clear();
  stalled_[0] = stalled_[1] = false;
  for (const auto& link : links_) link->pipes[0].stalled = link->pipes[1].stalled = false;
  act(std::move(lock));
}

void Proxy::take_new(bool take) {
  std::unique_lock lock(mutex_);
  take_new_ = take;
  act(std::move(lock));
}

std::size_t Proxy::links() const {
  const std::lock_guard lock(mutex_);
  return links_.size();
}

std::size_t Proxy::links_seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::vector<Frame> Proxy::frames() const {
  const std::lock_guard lock(mutex_);
  return frames_;
}

std::size_t Proxy::count(const std::function<bool(const Frame&)>& condition) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(frames_.begin(), frames_.end(), condition));
}

void Proxy::forget_frames() {
  const std::lock_guard lock(mutex_);
  frames_.clear();
}

void Proxy::record_frames(bool record) {
  const std::lock_guard lock(mutex_);
  record_ = record;
  if (!record) frames_.clear();
}

void Proxy::run() {
  std::vector<pollfd> polled;
  for (;;) {
    polled.assign({{listener_.get(), POLLIN, 0}, {wake_read_.get(), POLLIN, 0}});
    int timeout = -1;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      const auto now = Clock::now();
      for (const auto& link : links_) {
        pollfd ends[2] = {{link->client.get(), 0, 0}, {link->broker.get(), 0, 0}};
        for (std::size_t i = 0; i < 2; ++i) {
          const Pipe& pipe = link->pipes[i];
          if (pipe.stalled || stalled_[i]) continue;
          if (!pipe.ended && pipe.held.size() < most_held) ends[i].events |= POLLIN;
          if (due(pipe, now) > 0) {
            ends[1 - i].events |= POLLOUT;
          } else if (!pipe.held.empty()) {
            timeout = 1;  // one of the bytes that are delayed or throttled may be due
          }
        }
        for (pollfd& end : ends) {
          if (end.events == 0) end.fd = -1;  // or poll() returns at once for a peer that is gone
          polled.push_back(end);
        }
      }
    }
    ::poll(polled.data(), polled.size(), timeout);
    const std::lock_guard lock(mutex_);
    char drop[64];
    while (::read(wake_read_.get(), drop, sizeof drop) > 0) {
    }
    take_one();
    std::erase_if(links_, [this](const auto& link) { return !serve(*link); });
    ++turns_;
    turned_.notify_all();
  }
}

void Proxy::take_one() {
  Descriptor client = accept_from(listener_);
  if (!client) return;
  ++seen_;
  Descriptor broker = take_new_ ? connect_to(broker_.host, broker_.effective_port()) : Descriptor();
  if (!broker) return client.reset();
  Link& link = *links_.emplace_back(std::make_unique<Link>(seen_ - 1, std::move(client), std::move(broker)));
  for (std::size_t i = 0; i < 2; ++i) {
    link.pipes[i].cut_after = cut_new_after_[i];
    link.pipes[i].cut_how = cut_new_how_;
    link.pipes[i].stall_after = stall_new_after_[i];
  }
}

// False where the link is over.
bool Proxy::serve(Link& link) {
  pass(link, link.pipes[0], link.client, link.broker, stalled_[0]);
  pass(link, link.pipes[1], link.broker, link.client, stalled_[1]);
  if (link.ending) {
    end(link, *link.ending);
    return false;
  }
  if (link.stranding) {
    stranded_.push_back(std::move(link.broker));
    *link.stranding == End::reset ? link.client.reset() : link.client.close();
    return false;
  }
  if (link.pipes[0].broken || link.pipes[1].broken) {
    end(link, End::reset);
    return false;
  }
  return !(link.pipes[0].end_passed && link.pipes[1].end_passed);
}

void Proxy::pass(Link& link, Pipe& pipe, Descriptor& from, Descriptor& to, bool stalled) {
  if (stalled || pipe.stalled || link.ending) return;
  char buffer[64 * 1024];
  if (!pipe.ended && pipe.held.size() < most_held) {
    const ssize_t count = ::recv(from.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count == 0) {
      pipe.ended = true;
    } else if (count > 0) {
      const std::string_view bytes(buffer, std::min(static_cast<std::size_t>(count), pipe.cut_after));
      if (pipe.stall_after != no_limit) {
        pipe.stall_after -= std::min(pipe.stall_after, bytes.size());
        pipe.stalled = pipe.stall_after == 0;
        if (pipe.stalled) pipe.stall_after = no_limit;
      }
      take_in(pipe, bytes);
      if (pipe.cut_after != no_limit) pipe.cut_after -= bytes.size();
    } else if (errno != EAGAIN && errno != EINTR) {
      pipe.broken = true;
    }
  }
  const auto now = Clock::now();
  while (!pipe.delayed.empty() && pipe.delayed.front().first <= now) pipe.delayed.pop_front();
  if (const std::size_t size = due(pipe, now); size > 0) {
    const ssize_t count = ::send(to.get(), pipe.held.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      pipe.held.erase(0, static_cast<std::size_t>(count));
      if (throttle_ != 0) {
        pipe.next_send =
            now + std::chrono::microseconds(static_cast<std::size_t>(count) * 1'000'000 / throttle_);
      }
    }
    if (count < 0 && errno != EAGAIN && errno != EINTR) pipe.broken = true;
  }
  if (pipe.ended && pipe.held.empty() && !pipe.end_passed) {
    ::shutdown(to.get(), SHUT_WR);
    pipe.end_passed = true;
  }
  if (pipe.cut_after == 0 && pipe.held.empty()) link.ending = pipe.cut_how;
}

void Proxy::take_in(Pipe& pipe, std::string_view bytes) {
  const std::size_t before = pipe.held.size();
  pipe.held.append(bytes);
  if (pipe.garble) {
    if (const auto last = pipe.reader.first_end(bytes)) {
      pipe.held[before + *last] = '\0';
      pipe.garble = false;
    }
  }
  if (delay_ != std::chrono::milliseconds(0)) pipe.delayed.emplace_back(Clock::now() + delay_, bytes.size());
  pipe.reader.read(std::string_view(pipe.held).substr(before), frames_);
  if (!record_) frames_.clear();
}

// How many of the bytes held may go now.
std::size_t Proxy::due(const Pipe& pipe, Clock::time_point now) const {
  if (throttle_ != 0 && now < pipe.next_send) return 0;
  std::size_t size = pipe.held.size();
  for (const auto& [time, count] : pipe.delayed) {
    if (time > now) size -= std::min(size, count);
  }
  return throttle_ == 0 ? size : std::min(size, std::max<std::size_t>(throttle_ / 100, 1));
}

void Proxy::end(Link& link, End how) {
  for (Descriptor* side : {&link.client, &link.broker}) {
    if (how == End::reset) {
      side->reset();
      continue;
    }
    // Unread bytes would make a reset of the close.
    ::shutdown(side->get(), SHUT_WR);
    char drop[64 * 1024];
    while (::recv(side->get(), drop, sizeof drop, MSG_DONTWAIT) > 0) {
    }
    side->close();
  }
}

}  // namespace support
