#include <warren/warren.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench.hpp"

namespace bench {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 10min;  // an end for a run that hangs

warren::Connection connect(const Run& run) {
  return warren::Connection(run.endpoint, {.name = "warren_bench", .heartbeat = run.heartbeat});
}

warren::Message message_of(const Run& run) {
  const auto mode = run.persistent() ? warren::DeliveryMode::persistent : warren::DeliveryMode::transient;
  return warren::Message(std::string(run.size, 'x'), {.delivery_mode = mode});
}

// The queue of a run, on a connection that is gone while it is measured.
class Queue {
 public:
  explicit Queue(const Run& run) : run_(run) {
    warren::Connection connection = connect(run);
    warren::QueueOptions options{.expires = queue_expires};
    if (run.queue_bytes() != 0) options.max_length_bytes = run.queue_bytes();
    (void)connection.open_channel().declare_queue(run.queue, options);
  }
  ~Queue() {
    try {
      warren::Connection connection = connect(run_);
      (void)connection.open_channel().declare_queue_passive(run_.queue).remove();
    } catch (const warren::Error&) {  // the broker lets it expire
    }
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void fill(std::uint64_t messages) const {
    if (run_.null_broker) return;
    warren::Connection connection = connect(run_);
    // Not mandatory, which would leave a header on each, to be read and not there for the other client.
    warren::Publisher publisher(connection, {.routing_key = run_.queue, .mandatory = false});
    const warren::Message message = message_of(run_);
    for (std::uint64_t i = 0; i < messages; ++i) (void)publisher.publish_async(message);
    publisher.flush(patience);
  }

 private:
  const Run& run_;
};

// Runs `publish(count)` on as many threads as the run has.
template <typename Publish>
void on_threads(const Run& run, std::uint64_t messages, Publish publish) {
  if (run.threads == 1) return publish(messages);
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < run.threads; ++i) {
    threads.emplace_back(publish, share(messages, run.threads, i));
  }
}

void publish_confirmed(const Run& run, Meter& meter) {
  const Queue queue(run);
  warren::Connection connection = connect(run);
  warren::Publisher publisher(connection, {.routing_key = run.queue, .window = run.window});
  const warren::Message message = message_of(run);
  const auto publish = [&](std::uint64_t messages) {
    for (std::uint64_t i = 0; i < messages; ++i) (void)publisher.publish_async(message);
  };
  on_threads(run, run.warm_up, publish);
  publisher.flush(patience);
  meter.start();
  on_threads(run, run.messages, publish);
  publisher.flush(patience);
  meter.stop();
}

// A window of one: each is waited for.
void publish_one_by_one(const Run& run, Meter& meter) {
  const Queue queue(run);
  warren::Connection connection = connect(run);
  warren::Publisher publisher(connection, {.routing_key = run.queue, .window = 1});
  const warren::Message message = message_of(run);
  for (std::uint64_t i = 0; i < run.warm_up; ++i) publisher.publish(message);
  meter.start();
  for (std::uint64_t i = 0; i < run.messages; ++i) {
    const auto before = Meter::Clock::now();
    publisher.publish(message);
    meter.latency(Meter::Clock::now() - before);
  }
  meter.stop();
}

// Channels are answered in order: once the broker answers a declaration, it has all that was published
// before.
void publish_unconfirmed(const Run& run, Meter& meter) {
  const Queue queue(run);
  warren::Connection connection = connect(run);
  warren::Channel channel = connection.open_channel();
  const warren::Message message = message_of(run);
  const auto publish = [&](std::uint64_t messages) {
    for (std::uint64_t i = 0; i < messages; ++i) channel.publish("", run.queue, message);
  };
  const auto arrived = [&] { (void)channel.declare_queue_passive(run.queue); };
  on_threads(run, run.warm_up, publish);
  arrived();
  meter.start();
  on_threads(run, run.messages, publish);
  arrived();
  meter.stop();
}

class Latch {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  [[nodiscard]] bool is_open() {
    const std::lock_guard lock(mutex_);
    return open_;
  }
  // Until it is open, or the consumer ended by itself.
  void wait(warren::Consumer& consumer) {
    while (!is_open()) {
      std::unique_lock lock(mutex_);
      if (opened_.wait_for(lock, 1s, [&] { return open_; })) return;
      lock.unlock();
      if (consumer.wait_for(0ms)) throw std::runtime_error("the consumer ended early");
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

void consume(const Run& run, Meter& meter) {
  const Queue queue(run);
  const std::uint64_t last = run.warm_up + run.messages;
  queue.fill(last);
  warren::Connection connection = connect(run);
  warren::Consumer consumer(
      connection, run.queue,
      {.prefetch = static_cast<std::uint16_t>(run.window),
       .concurrency = run.threads,
       .ack_mode = run.manual() ? warren::AckMode::manual : warren::AckMode::after_handler});
  Latch done;
  std::atomic<std::uint64_t> handled{0};
  consumer.start([&](const warren::Delivery& delivery) {
    if (delivery.body().size() != run.size) throw std::runtime_error("a body of another size");
    const std::uint64_t count = handled.fetch_add(1, std::memory_order_relaxed) + 1;
    if (run.manual() && (count % run.ack_every() == 0 || count == last)) delivery.ack_up_to();
    if (count == run.warm_up) meter.start();
    if (count != last) return;
    meter.stop();
    done.open();
  });
  done.wait(consumer);
}

// The handler publishes the next message itself, as the loop of the other client does.
void round_trip(const Run& run, Meter& meter) {
  const Queue queue(run);
  warren::Connection connection = connect(run);
  warren::Channel channel = connection.open_channel();
  const warren::Message message = message_of(run);
  warren::Consumer consumer(connection, run.queue, {.prefetch = static_cast<std::uint16_t>(run.window)});
  const std::uint64_t last = run.warm_up + run.messages;
  Latch done;
  std::uint64_t received = 0;
  Meter::Clock::time_point sent;
  const auto publish = [&] {
    sent = Meter::Clock::now();
    channel.publish("", run.queue, message);
  };
  consumer.start([&](const warren::Delivery& delivery) {
    if (delivery.body().size() != run.size) throw std::runtime_error("a body of another size");
    const auto time = Meter::Clock::now() - sent;
    ++received;
    if (received == run.warm_up) meter.start();
    if (received > run.warm_up) meter.latency(time);
    if (received < last) return publish();
    meter.stop();
    done.open();
  });
  publish();
  done.wait(consumer);
}

}  // namespace

void run_warren(const Run& run, Meter& meter) {
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
