// The other side of the comparison: rabbitmq-c, as a careful C programmer uses it.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench.hpp"
#include "rabbitmq_c_connection.hpp"

namespace bench {
namespace {

using rabbitmq_c::bytes_of;
using rabbitmq_c::check;
using rabbitmq_c::Connection;

// The queue of a run, on a connection that is gone while it is measured.
class Queue {
 public:
  explicit Queue(const Run& run) : run_(run) {
    const Connection connection(run.endpoint, run.heartbeat);
    amqp_table_entry_t entries[2]{};
    set(entries[0], "x-expires", std::chrono::milliseconds(queue_expires).count());
    set(entries[1], "x-max-length-bytes", run.queue_bytes());
    const amqp_table_t arguments{run.queue_bytes() == 0 ? 1 : 2, entries};
    amqp_queue_declare(connection.state(), Connection::channel, bytes_of(run.queue), 0, 1, 0, 0, arguments);
    connection.check_reply("declare the queue");
  }
  ~Queue() {
    try {
      const Connection connection(run_.endpoint, run_.heartbeat);
      amqp_queue_delete(connection.state(), Connection::channel, bytes_of(run_.queue), 0, 0);
    } catch (const std::exception&) {  // the broker lets it expire
    }
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

 private:
  static void set(amqp_table_entry_t& entry, const char* key, std::int64_t value) {
    entry.key = amqp_cstring_bytes(key);
    entry.value.kind = AMQP_FIELD_KIND_I64;
    entry.value.value.i64 = value;
  }
  const Run& run_;
};

// Publishes on one connection.
class Sender {
 public:
  Sender(const Run& run, Connection& connection, bool mandatory)
      : run_(run), connection_(connection), mandatory_(mandatory ? 1 : 0), body_(run.size, 'x') {
    properties_._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties_.delivery_mode = run.persistent() ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
  }

  void send() {
    check(amqp_basic_publish(connection_.state(), Connection::channel, amqp_empty_bytes, bytes_of(run_.queue),
                             mandatory_, 0, &properties_, bytes_of(body_)),
          "publish");
  }

 private:
  const Run& run_;
  Connection& connection_;
  const amqp_boolean_t mandatory_;
  const std::string body_;
  amqp_basic_properties_t properties_{};
};

// A window of unconfirmed messages in flight.
class ConfirmedSender {
 public:
  ConfirmedSender(const Run& run, Connection& connection, std::uint64_t window, bool mandatory)
      : connection_(connection),
        sender_(run, connection, mandatory),
        window_(window),
        settled_(window, true) {
    amqp_confirm_select(connection.state(), Connection::channel);
    connection.check_reply("confirm.select");
  }

  void send() {
    if (in_flight() == window_) {
      // Until half of it is free: to go on at the first free place is to wait once for each message.
      wait_until(window_ / 2);
    }
    sender_.send();
    settled_[++last_ % window_] = false;
  }

  void wait_until(std::uint64_t in_flight_at_most) {
    amqp_frame_t frame;
    while (in_flight() > in_flight_at_most) {
      connection_.release();
      connection_.next(frame);
      do {
        on_frame(frame);
        connection_.release();
      } while (connection_.poll(frame));
    }
  }

 private:
  [[nodiscard]] std::uint64_t in_flight() const { return last_ + 1 - first_; }

  void on_frame(const amqp_frame_t& frame) {
    if (frame.frame_type == AMQP_FRAME_HEARTBEAT) return;
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
      rabbitmq_c::unexpected(frame);
    }
    const auto* ack = static_cast<const amqp_basic_ack_t*>(frame.payload.method.decoded);
    if (ack->delivery_tag < first_ || ack->delivery_tag > last_)
      throw std::runtime_error("an unexpected confirm");
    for (std::uint64_t tag = ack->multiple ? first_ : ack->delivery_tag; tag <= ack->delivery_tag; ++tag) {
      settled_[tag % window_] = true;
    }
    while (first_ <= last_ && settled_[first_ % window_]) ++first_;
  }

  Connection& connection_;
  Sender sender_;
  const std::uint64_t window_;
  std::vector<bool> settled_;  // a confirm may come ahead of an earlier one's
  std::uint64_t first_ = 1;    // that is not settled
  std::uint64_t last_ = 0;
};

// Receives on one connection.
class Receiver {
 public:
  Receiver(const Run& run, Connection& connection, std::size_t prefetch)
      : run_(run), connection_(connection) {
    amqp_basic_qos(connection.state(), Connection::channel, 0, static_cast<std::uint16_t>(prefetch), 0);
    connection.check_reply("basic.qos");
    amqp_basic_consume(connection.state(), Connection::channel, bytes_of(run.queue), amqp_empty_bytes, 0, 0,
                       0, amqp_empty_table);
    connection.check_reply("basic.consume");
  }

  // Waits for a message and returns its delivery tag.
  std::uint64_t receive() {
    connection_.release();  // of the message before
    amqp_frame_t frame;
    next(frame, AMQP_FRAME_METHOD);
    if (frame.payload.method.id != AMQP_BASIC_DELIVER_METHOD) rabbitmq_c::unexpected(frame);
    const std::uint64_t tag =
        static_cast<const amqp_basic_deliver_t*>(frame.payload.method.decoded)->delivery_tag;
    next(frame, AMQP_FRAME_HEADER);
    const std::uint64_t size = frame.payload.properties.body_size;
    body_.clear();
    while (body_.size() < size) {
      next(frame, AMQP_FRAME_BODY);
      body_.append(static_cast<const char*>(frame.payload.body_fragment.bytes),
                   frame.payload.body_fragment.len);
    }
    if (body_.size() != run_.size) throw std::runtime_error("a body of another size");
    return tag;
  }

  void acknowledge(std::uint64_t tag, bool multiple) {
    check(amqp_basic_ack(connection_.state(), Connection::channel, tag, multiple ? 1 : 0), "basic.ack");
  }

 private:
  void next(amqp_frame_t& frame, std::uint8_t type) {
    do {
      connection_.next(frame);
    } while (frame.frame_type == AMQP_FRAME_HEARTBEAT);
    if (frame.frame_type != type) rabbitmq_c::unexpected(frame);
  }

  const Run& run_;
  Connection& connection_;
  std::string body_;
};

// A connection is one thread's, so each thread has its own. What is measured begins once all have warmed up.
class Threads {
 public:
  Threads(const Run& run, Meter& meter)
      : run_(run), meter_(meter), ready_(static_cast<std::ptrdiff_t>(run.threads), Start{meter}) {}

  // Calls body(thread) on each. Each calls begin() once.
  template <typename Body>
  void run(Body body) {
    std::atomic<std::size_t> running = run_.threads;
    const auto work = [&](std::size_t thread) {
      try {
        body(thread);
      } catch (...) {  // the others would wait for it for ever
        failed(std::current_exception());
      }
      if (--running == 0) meter_.stop();
    };
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < run_.threads; ++i) others.emplace_back(work, i);
    work(0);
  }

  void begin() { ready_.arrive_and_wait(); }

 private:
  struct Start {
    Meter& meter;
    void operator()() noexcept { meter.start(); }
  };

  [[noreturn]] static void failed(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "warren_bench: %s\n", error.what());
    }
    std::_Exit(1);
  }

  const Run& run_;
  Meter& meter_;
  std::barrier<Start> ready_;
};

void publish_confirmed(const Run& run, Meter& meter) {
  const Queue queue(run);
  Threads threads(run, meter);
  threads.run([&](std::size_t thread) {
    Connection connection(run.endpoint, run.heartbeat);
    const std::uint64_t window = std::max<std::uint64_t>(share(run.window, run.threads, thread), 1);
    ConfirmedSender sender(run, connection, window, true);
    const auto send = [&](std::uint64_t messages) {
      for (std::uint64_t i = 0; i < messages; ++i) sender.send();
      sender.wait_until(0);
    };
    send(share(run.warm_up, run.threads, thread));
    threads.begin();
    send(share(run.messages, run.threads, thread));
  });
}

// A window of one: each is waited for.
void publish_one_by_one(const Run& run, Meter& meter) {
  const Queue queue(run);
  Connection connection(run.endpoint, run.heartbeat);
  ConfirmedSender sender(run, connection, 1, true);
  const auto send = [&] {
    sender.send();
    sender.wait_until(0);
  };
  for (std::uint64_t i = 0; i < run.warm_up; ++i) send();
  meter.start();
  for (std::uint64_t i = 0; i < run.messages; ++i) {
    const auto before = Meter::Clock::now();
    send();
    meter.latency(Meter::Clock::now() - before);
  }
  meter.stop();
}

// Channels are answered in order: once the broker answers a declaration, it has all that was published
// before.
void publish_unconfirmed(const Run& run, Meter& meter) {
  const Queue queue(run);
  Threads threads(run, meter);
  threads.run([&](std::size_t thread) {
    Connection connection(run.endpoint, run.heartbeat);
    Sender sender(run, connection, false);
    const auto send = [&](std::uint64_t messages) {
      for (std::uint64_t i = 0; i < messages; ++i) sender.send();
      amqp_queue_declare(connection.state(), Connection::channel, bytes_of(run.queue), 1, 0, 0, 0,
                         amqp_empty_table);
      connection.check_reply("look at the queue");
    };
    send(share(run.warm_up, run.threads, thread));
    threads.begin();
    send(share(run.messages, run.threads, thread));
  });
}

void fill(const Run& run) {
  if (run.null_broker) return;
  Connection connection(run.endpoint, run.heartbeat);
  ConfirmedSender sender(run, connection, 256, false);
  for (std::uint64_t i = 0; i < run.warm_up + run.messages; ++i) sender.send();
  sender.wait_until(0);
}

void consume(const Run& run, Meter& meter) {
  const Queue queue(run);
  fill(run);
  Threads threads(run, meter);
  threads.run([&](std::size_t thread) {
    Connection connection(run.endpoint, run.heartbeat);
    Receiver receiver(run, connection, run.window);
    const auto receive = [&](std::uint64_t messages) {
      for (std::uint64_t i = 1; i <= messages; ++i) {
        const std::uint64_t tag = receiver.receive();
        if (!run.manual()) {
          receiver.acknowledge(tag, false);
        } else if (i % run.ack_every() == 0 || i == messages) {
          receiver.acknowledge(tag, true);
        }
      }
    };
    receive(share(run.warm_up, run.threads, thread));
    threads.begin();
    receive(share(run.messages, run.threads, thread));
  });
}

// The acknowledgement goes out while the next message is under way.
void round_trip(const Run& run, Meter& meter) {
  const Queue queue(run);
  Connection connection(run.endpoint, run.heartbeat);
  Receiver receiver(run, connection, run.window);
  Sender sender(run, connection, false);
  const std::uint64_t last = run.warm_up + run.messages;
  Meter::Clock::time_point sent;
  const auto send = [&] {
    sent = Meter::Clock::now();
    sender.send();
  };
  send();
  for (std::uint64_t received = 1; received <= last; ++received) {
    const std::uint64_t tag = receiver.receive();
    const auto time = Meter::Clock::now() - sent;
    if (received == run.warm_up) meter.start();
    if (received > run.warm_up) meter.latency(time);
    if (received < last) send();
    receiver.acknowledge(tag, false);
  }
  meter.stop();
}

}  // namespace

void run_rabbitmq_c(const Run& run, Meter& meter) {
  switch (run.scenario) {
    case Scenario::publish_confirmed:
    case Scenario::publish_tls:
    case Scenario::publish_large:
      return run.window == 1 && run.threads == 1 ? publish_one_by_one(run, meter)
                                                 : publish_confirmed(run, meter);
    case Scenario::publish_unconfirmed:
      return publish_unconfirmed(run, meter);
    case Scenario::consume:
    case Scenario::consume_manual:
      return consume(run, meter);
    case Scenario::round_trip:
      return round_trip(run, meter);
  }
}

}  // namespace bench
