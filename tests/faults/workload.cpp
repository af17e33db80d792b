#include "faults/workload.hpp"

#include <algorithm>
#include <deque>
#include <random>
#include <sstream>

#include "support/broker.hpp"

namespace faults {

using namespace std::chrono_literals;
using Clock = Ledger::Clock;

namespace {

constexpr std::size_t window = 64;
constexpr std::size_t kept_lines = 400;
constexpr auto publish_timeout = 30s;
constexpr auto after_failure = 50ms;
constexpr const char* what_handlers_throw = "it fails at times";

}  // namespace

Workload::Workload(Ledger& ledger, const std::vector<warren::Endpoint>& endpoints, warren::QueueType type,
                   std::uint64_t seed, std::chrono::milliseconds pause)
    : ledger_(ledger), seed_(seed), pause_(pause) {
  warren::Connection& consuming = connect("consuming", endpoints);
  warren::Channel channel = consuming.open_channel();
  warren::Exchange exchange = channel.declare_exchange("ledger", {.type = warren::ExchangeType::topic});
  for (const char* name :
       {"plain", "wide", "orders", "orders_retry", "orders_parked", "orders_retry_parked"}) {
    warren::Queue queue = channel.declare_queue(name, {.type = type});
    if (std::string_view("wide") == name) {
      queue.bind(exchange, "wide");
      queue.bind(exchange, "broad");
    }
  }
  consume(consuming, "plain", {.prefetch = 50}, 0);
  consume(consuming, "wide", {.prefetch = 40, .concurrency = 4}, 0);
  warren::Connection& retrying = connect("retrying", endpoints);
  consume(retrying, "orders",
          {.prefetch = 30, .concurrency = 2, .retry = warren::RetryPolicy::to_queue("orders_retry")}, 10);
  consume(retrying, "orders_retry", {.retry = warren::RetryPolicy::immediate({.max_attempts = 50})}, 10);

  warren::Connection& publishing = connect("publishing", endpoints);
  warren::Publisher& plain =
      publishers_.emplace_back(publishing, warren::PublisherOptions{.routing_key = "plain"});
  warren::Publisher& orders =
      publishers_.emplace_back(publishing, warren::PublisherOptions{.routing_key = "orders"});
  warren::Connection& streaming = connect("streaming", endpoints);
  warren::Publisher& wide = publishers_.emplace_back(
      streaming, warren::PublisherOptions{.exchange = "ledger", .routing_key = "broad", .window = window});
  for (int i = 0; i < 2; ++i) threads_.emplace_back([&] { publish(plain, "plain"); });
  threads_.emplace_back([&] { publish(orders, "orders"); });
  threads_.emplace_back([&] { publish_async(wide, "wide"); });
  threads_.emplace_back([&] { publish_async(plain, "plain"); });
}

Workload::~Workload() {
  stop_publishing();
  try {
    stop_consuming();
  } catch (const std::exception&) {  // a test that failed before leaves them to their destructors
  }
}

warren::ConnectionOptions Workload::options(const std::string& name) {
  warren::ConnectionOptions options;
  options.name = name;
  options.heartbeat = 2s;
  options.connect_timeout = 5s;
  options.operation_timeout = 10s;
  options.on_log = [this, name](const warren::LogEvent& event) {
    if (event.level == warren::LogLevel::error) fault(name + ": " + event.text);
    if (support::contains(event.text, what_handlers_throw)) return;  // a failed handler is nothing new
    note(name + " " + warren::to_string(event.level) + ": " + event.text);
  };
  options.on_state = [this, name, opened = false](const warren::StateEvent& event) mutable {
    note(name + " is " + warren::to_string(event.state));
    if (event.state != warren::ConnectionState::open || event.blocked) return;
    if (std::exchange(opened, true)) ++recoveries_;
  };
  return options;
}

// Each to another one first.
warren::Connection& Workload::connect(const std::string& name, std::vector<warren::Endpoint> endpoints) {
  std::rotate(endpoints.begin(),
              endpoints.begin() + static_cast<std::ptrdiff_t>(connections_.size() % endpoints.size()),
              endpoints.end());
  return connections_.emplace_back(std::move(endpoints), options(name));
}

void Workload::consume(warren::Connection& connection, const std::string& queue,
                       warren::ConsumerOptions options, unsigned failing_percent) {
  warren::Consumer& consumer = consumers_.emplace_back(connection, queue, std::move(options));
  consumer.start([this, queue, failing_percent](const warren::Delivery& delivery) {
    thread_local std::mt19937_64 random(seed_ + ++handlers_);
    if (random() % 100 < failing_percent) throw std::runtime_error(what_handlers_throw);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2'000));
    if (!ledger_.handled(delivery.body())) fault("not ours: " + std::string(delivery.body().substr(0, 60)));
  });
}

// False once publishing is to end.
bool Workload::pause(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return stopping_; });
}

void Workload::publish(warren::Publisher& publisher, const std::string& queue) {
  while (pause(pause_)) {
    const std::uint64_t number = ledger_.begin();
    const auto since = Clock::now();
    try {
      publisher.publish(warren::Message(std::to_string(number)), {.timeout = publish_timeout});
      ledger_.confirmed(number, since);
    } catch (const warren::Error& error) {
      ledger_.failed(number, since, error);
      note("publish to " + queue + ": " + error.what());
      pause(after_failure);
    }
  }
}

void Workload::publish_async(warren::Publisher& publisher, const std::string& queue) {
  struct Open {
    std::uint64_t number;
    Clock::time_point since;
    warren::Confirmation confirmation;
  };
  std::deque<Open> open;
  const auto end_first = [&] {
    Open& first = open.front();
    try {
      first.confirmation.wait();
      ledger_.confirmed(first.number, first.since);
    } catch (const warren::Error& error) {
      ledger_.failed(first.number, first.since, error);
      note("publish_async to " + queue + ": " + error.what());
      pause(after_failure);
    }
    open.pop_front();
  };
  while (pause(2 * pause_)) {
    while (open.size() >= window / 2) end_first();
    const std::uint64_t number = ledger_.begin();
    const auto since = Clock::now();
    try {
      open.push_back(
          {number, since,
           publisher.publish_async(warren::Message(std::to_string(number)), {.timeout = publish_timeout})});
    } catch (const warren::Error& error) {
      ledger_.failed(number, since, error);
      note("publish_async to " + queue + ": " + error.what());
    }
  }
  while (!open.empty()) end_first();
}

void Workload::stop_publishing() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Workload::stop_consuming() {
  for (warren::Consumer& consumer : consumers_) {
    consumer.stop();
    try {
      consumer.wait();
    } catch (const std::exception& error) {
      fault("the consumer of " + consumer.queue() + " ended: " + error.what());
    }
  }
}

std::vector<std::string> Workload::faults() const {
  const std::lock_guard lock(mutex_);
  return faults_;
}

std::uint64_t Workload::stale() const {
  std::uint64_t stale = 0;
  for (const warren::Consumer& consumer : consumers_) stale += consumer.status().stale;
  return stale;
}

bool Workload::is_well() const {
  for (const warren::Connection& connection : connections_) {
    if (!connection.is_open()) return false;
  }
  for (const warren::Consumer& consumer : consumers_) {
    if (!consumer.status().subscribed) return false;
  }
  return true;
}

std::string Workload::describe() const {
  std::ostringstream text;
  for (const warren::Connection& connection : connections_)
    text << warren::to_string(connection.state()) << ' ';
  for (const warren::Consumer& consumer : consumers_) {
    const warren::ConsumerStatus status = consumer.status();
    text << consumer.queue() << (status.subscribed ? " subscribed" : " NOT SUBSCRIBED") << ", waiting "
         << status.waiting << ", running " << status.running << ", acked " << status.acked << ", stale "
         << status.stale << "; ";
  }
  return text.str();
}

std::string Workload::log() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const std::string& line : log_) text += line + '\n';
  return text;
}

void Workload::note(const std::string& text) {
  std::ostringstream line;
  line.precision(3);
  line << std::fixed << std::chrono::duration<double>(Clock::now() - start_).count() << ' ' << text;
  const std::lock_guard lock(mutex_);
  log_.push_back(line.str());
  if (log_.size() > kept_lines) log_.pop_front();
}

void Workload::fault(const std::string& text) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(text);
}

}  // namespace faults
