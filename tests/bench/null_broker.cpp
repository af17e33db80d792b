#include "null_broker.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace bench {
namespace {

constexpr std::size_t frame_max = 131'072;
constexpr std::size_t frame_overhead = 8;
constexpr std::size_t input_size = 4 * frame_max;
constexpr std::size_t output_target = frame_max;  // of deliveries sent at once

constexpr std::uint32_t method_id(std::uint32_t class_id, std::uint32_t method) {
  return class_id << 16U | method;
}

template <std::unsigned_integral T>
T load(const char* at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = value << 8U | static_cast<unsigned char>(at[i]);
  return static_cast<T>(value);
}

template <std::unsigned_integral T>
void store(char* at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    at[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> 8U * (sizeof(T) - 1 - i));
  }
}

std::string_view short_string(const char* at) { return {at + 1, static_cast<unsigned char>(*at)}; }

/// A frame on its way out.
class Frame {
 public:
  Frame(std::string& out, std::uint8_t type, std::uint16_t channel) : out_(out), start_(out.size()) {
    add(type).add(channel).add(std::uint32_t{0});
  }
  Frame(std::string& out, std::uint16_t channel, std::uint32_t method)
      : Frame(out, std::uint8_t{1}, channel) {
    add(method);
  }
  ~Frame() {
    store(&out_[start_ + 3], static_cast<std::uint32_t>(out_.size() - start_ - 7));
    out_ += static_cast<char>(0xCE);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  template <std::unsigned_integral T>
  Frame& add(T value) {
    out_.resize(out_.size() + sizeof(T));
    store(&out_[out_.size() - sizeof(T)], value);
    return *this;
  }
  Frame& add_short(std::string_view text) {
    return add(static_cast<std::uint8_t>(text.size())).add_raw(text);
  }
  Frame& add_long(std::string_view text) {
    return add(static_cast<std::uint32_t>(text.size())).add_raw(text);
  }
  Frame& add_raw(std::string_view text) {
    out_ += text;
    return *this;
  }

 private:
  std::string& out_;
  std::size_t start_;
};

/// One client.
class Session {
 public:
  Session(int socket, const NullBrokerOptions& options)
      : socket_(socket), options_(options), available_(options.echo ? 0 : unlimited), input_(input_size) {}

  // Until the client has gone.
  void run() {
    skip_protocol_header();
    Frame(output_, 0, method_id(10, 10))
        .add(std::uint8_t{0})
        .add(std::uint8_t{9})
        .add_long("")
        .add_long("PLAIN")
        .add_long("en_US");
    while (!closed_ || sent_ < output_.size()) {
      deliver();
      const bool wrote = write();
      const bool read = this->read();
      if (wrote || read) continue;
      pollfd ready{socket_, POLLIN, 0};
      if (sent_ < output_.size()) ready.events |= POLLOUT;
      ::poll(&ready, 1, -1);
    }
  }

 private:
  static constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

  void skip_protocol_header() {
    char header[8];
    if (::recv(socket_, header, sizeof header, MSG_WAITALL) != sizeof header) closed_ = true;
  }

  bool write() {
    if (sent_ == output_.size()) return false;
    const ssize_t count =
        ::send(socket_, output_.data() + sent_, output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EAGAIN || errno == EINTR) return false;
      closed_ = true;
    }
    sent_ = count < 0 ? output_.size() : sent_ + static_cast<std::size_t>(count);
    if (sent_ == output_.size()) {
      output_.clear();
      sent_ = 0;
    }
    return true;
  }

  bool read() {
    if (closed_) return false;
    const ssize_t count = ::recv(socket_, input_.data() + end_, input_.size() - end_, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (count <= 0) {
      closed_ = true;
      return true;
    }
    end_ += static_cast<std::size_t>(count);
    std::size_t at = 0;
    while (end_ - at >= frame_overhead) {
      const auto length = load<std::uint32_t>(&input_[at + 3]);
      if (end_ - at < length + frame_overhead) break;
      on_frame(input_[at], load<std::uint16_t>(&input_[at + 1]), &input_[at + 7], length);
      at += length + frame_overhead;
    }
    std::copy(input_.begin() + static_cast<std::ptrdiff_t>(at),
              input_.begin() + static_cast<std::ptrdiff_t>(end_), input_.begin());
    end_ -= at;
    confirm();
    return true;
  }

  void on_frame(char type, std::uint16_t channel, const char* payload, std::uint32_t length) {
    if (type == 1) return on_method(channel, load<std::uint32_t>(payload), payload + 4);
    if (type == 2) {
      missing_ = load<std::uint64_t>(payload + 4);
      if (missing_ == 0) on_message(channel);
    } else if (type == 3) {
      missing_ -= length;
      if (missing_ == 0) on_message(channel);
    }
  }

  void on_message(std::uint16_t channel) {
    if (channel == confirming_) ++published_;
    if (options_.echo) ++available_;
  }

  // Of all that came with one read: what a broker under load does.
  void confirm() {
    if (published_ == confirmed_) return;
    const bool multiple = published_ - confirmed_ > 1;
    confirmed_ = published_;
    Frame(output_, confirming_, method_id(60, 80))
        .add(confirmed_)
        .add(static_cast<std::uint8_t>(multiple ? 1 : 0));
  }

  void on_method(std::uint16_t channel, std::uint32_t id, const char* arguments) {
    const auto answer = [&](std::uint32_t answered) { return Frame(output_, channel, answered); };
    switch (id) {
      case method_id(60, 40):  // basic.publish
        return;
      case method_id(60, 80):  // basic.ack
        return settle(load<std::uint64_t>(arguments), arguments[8] != 0);
      case method_id(10, 11):  // connection.start-ok
        answer(method_id(10, 30))
            .add(std::uint16_t{2047})
            .add(std::uint32_t{frame_max})
            .add(std::uint16_t{0});
        return;
      case method_id(10, 31):  // connection.tune-ok
        return;
      case method_id(10, 40):  // connection.open
        answer(id + 1).add_short("");
        return;
      case method_id(10, 50):  // connection.close
        answer(id + 1);
        closed_ = true;
        return;
      case method_id(20, 10):  // channel.open
        answer(id + 1).add_long("");
        return;
      case method_id(50, 10):  // queue.declare
        answer(id + 1).add_short(short_string(arguments + 2)).add(std::uint32_t{0}).add(std::uint32_t{0});
        return;
      case method_id(50, 30):  // queue.purge
      case method_id(50, 40):  // queue.delete
        answer(id + 1).add(std::uint32_t{0});
        return;
      case method_id(60, 10):  // basic.qos
        prefetch_ = load<std::uint16_t>(arguments + 4);
        answer(id + 1);
        return;
      case method_id(60, 20):  // basic.consume
        answer(id + 1).add_short("null");
        return subscribe(channel);
      case method_id(60, 30):  // basic.cancel
        consumer_ = 0;
        answer(id + 1).add_short("null");
        return;
      case method_id(85, 10):  // confirm.select
        confirming_ = channel;
        answer(id + 1);
        return;
      default:  // channel.close, queue.bind, …: answered by the next number, without arguments
        answer(id + 1);
    }
  }

  void subscribe(std::uint16_t channel) {
    consumer_ = channel;
    settled_.assign(prefetch_, false);
    delivery_.clear();
    Frame(delivery_, channel, method_id(60, 60))
        .add_short("null")
        .add(std::uint64_t{0})
        .add(std::uint8_t{0})
        .add_short("")
        .add_short("null");
    // Content type none, delivery mode 1.
    Frame(delivery_, std::uint8_t{2}, channel)
        .add(std::uint32_t{60U << 16U})
        .add(std::uint64_t{options_.size})
        .add(std::uint16_t{1U << 12U})
        .add(std::uint8_t{1});
    const std::string body(options_.size, 'x');
    for (std::size_t at = 0; at < body.size(); at += frame_max - frame_overhead) {
      Frame(delivery_, std::uint8_t{3}, channel)
          .add_raw(std::string_view(body).substr(at, frame_max - frame_overhead));
    }
  }

  void deliver() {
    constexpr std::size_t tag_at = 7 + 4 + 1 + 4;
    while (consumer_ != 0 && available_ != 0 && delivered_ + 1 - first_ < prefetch_ &&
           output_.size() < output_target) {
      if (available_ != unlimited) --available_;
      ++delivered_;
      settled_[delivered_ % prefetch_] = false;
      output_ += delivery_;
      store(&output_[output_.size() - delivery_.size() + tag_at], delivered_);
    }
  }

  void settle(std::uint64_t tag, bool multiple) {
    if (tag < first_ || tag > delivered_) return;
    for (std::uint64_t each = multiple ? first_ : tag; each <= tag; ++each) settled_[each % prefetch_] = true;
    while (first_ <= delivered_ && settled_[first_ % prefetch_]) ++first_;
  }

  const int socket_;
  const NullBrokerOptions options_;
  bool closed_ = false;
  std::uint64_t missing_ = 0;     // of a body on its way in
  std::uint16_t confirming_ = 0;  // the channel in confirm mode
  std::uint64_t published_ = 0;
  std::uint64_t confirmed_ = 0;
  std::uint16_t consumer_ = 0;  // its channel
  std::uint64_t prefetch_ = 1;
  std::uint64_t available_;
  std::uint64_t delivered_ = 0;
  std::uint64_t first_ = 1;  // of the deliveries that are not settled
  std::vector<bool> settled_;
  std::string delivery_;  // to be copied, but for its tag
  std::vector<char> input_;
  std::size_t end_ = 0;
  std::string output_;
  std::size_t sent_ = 0;
};

void serve(int socket, const NullBrokerOptions& options) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Session(socket, options).run();
  ::close(socket);
}

}  // namespace

void serve_null_broker(const NullBrokerOptions& options) {
  const auto check = [](int result, const char* what) {
    if (result < 0) throw std::system_error(errno, std::generic_category(), what);
    return result;
  };
  const int listener = check(::socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  check(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), "bind");
  check(::listen(listener, 16), "listen");
  check(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  std::printf("%u\n", static_cast<unsigned>(ntohs(address.sin_port)));
  std::fflush(stdout);

  ::pthread_setname_np(::pthread_self(), "null-broker");  // tells it from the client in a profile
  std::thread([&] {
    for (char byte = 0; ::read(STDIN_FILENO, &byte, 1) > 0;) {
    }
    std::_Exit(0);
  }).detach();
  for (;;) {
    const int socket = check(::accept(listener, nullptr, nullptr), "accept");
    std::thread(serve, socket, options).detach();
  }
}

}  // namespace bench
