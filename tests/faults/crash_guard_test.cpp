#include <warren/warren.hpp>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "faults/crash_child.hpp"
#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"

using namespace support;
using namespace faults;
using warren::Connection;
using warren::Consumer;
using warren::ParkedMessage;

namespace {

struct Fixture {
  explicit Fixture(warren::QueueType type) : queue({.type = type}) {}
  ~Fixture() {
    try {
      connection.open_channel().declare_queue_passive(suspects).remove();
    } catch (const warren::Error&) {  // no child made it
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  // Restarted whenever it dies, until it finds nothing to do, and all that it gave back has come to rest.
  int deaths_until_idle() {
    for (int deaths = 0; deaths < 100; ++deaths) {
      const int code = child.run();
      if (code == 0) return deaths;
      if (code != 9) throw std::runtime_error("the child ended with " + std::to_string(code));
    }
    throw std::runtime_error("the child dies for ever");
  }
  std::map<std::string, int> counts(const std::string& path) {
    std::map<std::string, int> counts;
    for (const std::string& line : lines_of(path)) ++counts[line];
    return counts;
  }

  TestQueue queue;
  TestQueue parked;
  Connection connection{shared_broker().endpoint(), test_options()};
  const std::string suspects = queue.name() + "_suspect";
  const std::string folder = (std::filesystem::temp_directory_path() / unique_name("crash")).string();
  CrashChild child{shared_broker().url(), queue.name(), parked.name(), folder + "/handled",
                   folder + "/started"};
};

// How many different bodies a handler saw. Any thread.
class Distinct {
 public:
  void add(std::string_view body) {
    const std::lock_guard lock(mutex_);
    bodies_.emplace(body);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return bodies_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::string> bodies_;
};

}  // namespace

TEST_CASE(
    "51: a message whose handler ends the process is parked after its limit, and its 63 neighbours are "
    "handled") {
  Fixture f(GENERATE(warren::QueueType::classic, warren::QueueType::quorum));
  std::filesystem::create_directories(f.folder);
  for (int i = 0; i < 64; ++i) f.queue.put(i == 20 ? "killer" : std::to_string(i));
  REQUIRE(f.queue.holds(64));

  CHECK(f.deaths_until_idle() == 4);  // one that nobody had written down, and the limit
  CHECK(f.counts(f.child.started)["killer"] == 4);
  const std::map<std::string, int> handled = f.counts(f.child.handled);
  CHECK(handled.size() == 63);
  CHECK(f.queue.ready() == 0);

  std::size_t parked = 0;
  warren::ParkingLot lot{f.connection, f.parked.name(), {.allowed_queues = {f.queue.name()}}};
  lot.inspect([&](const ParkedMessage& message) {
    ++parked;
    CHECK(message.message.body() == "killer");
    CHECK(message.reason == "crash");
    CHECK(message.queue == f.queue.name());
    CHECK(message.routing_key == f.queue.name());
    CHECK(message.message.properties().headers.find("retry-crash-count")->as_integer() == 3);
  });
  CHECK(parked == 1);

  // Replayed, it begins anew.
  CHECK(lot.replay().done == 1);
  CHECK_FALSE(f.queue.take().headers().contains("retry-crash-count"));
}

TEST_CASE("several messages that end the process are parked, and nobody else") {
  Fixture f(warren::QueueType::classic);
  std::filesystem::create_directories(f.folder);
  const std::set<std::string> killers{"killer5", "killer21", "killer37", "killer53"};
  for (int i = 0; i < 64; ++i) {
    const std::string killer = "killer" + std::to_string(i);
    f.queue.put(killers.contains(killer) ? killer : std::to_string(i));
  }
  REQUIRE(f.queue.holds(64));
  int deaths = f.deaths_until_idle();
  CHECK(f.counts(f.child.handled).size() == 60);
  CHECK(f.queue.ready() == 0);
  // One that dies over a killer while it moves another doubles it, at times; each copy dies for itself.
  std::map<std::string, int> parked;
  warren::ParkingLot(f.connection, f.parked.name()).inspect([&](const ParkedMessage& message) {
    ++parked[std::string(message.message.body())];
  });
  CHECK(parked.size() == killers.size());
  std::map<std::string, int> started = f.counts(f.child.started);
  for (const auto& [body, copies] : parked) {
    CAPTURE(body, copies);
    CHECK(killers.contains(body));
    CHECK(started[body] <= 3 * copies + 1);  // the limit, and one that nobody had written down
    deaths -= started[body];
  }
  CHECK(deaths == 0);
}

TEST_CASE("51: a broker that is killed blames nobody") {
  constexpr std::size_t backlog = 1'000;
  PrivateBroker broker;
  Watch watch;
  Distinct handled;
  std::atomic<bool> hold{false};
  std::string queue;
  {
    Connection connection(broker.url(), test_options());
    queue = connection.open_channel().declare_queue(unique_name("backlog")).name();
    warren::Publisher publisher(connection, {.routing_key = queue});
    std::vector<warren::Confirmation> sent;
    for (std::size_t i = 0; i < backlog; ++i) sent.push_back(publisher.publish_async(std::to_string(i)));
    publisher.flush(30s);
  }
  Connection connection(broker.url(), watch.options());
  const auto make_consumer = [&] {
    auto consumer =
        std::make_unique<Consumer>(connection, queue,
                                   warren::ConsumerOptions{.retry = warren::RetryPolicy::immediate(),
                                                           .crash_guard = warren::CrashGuardOptions{}});
    consumer->start([&](const warren::Delivery& delivery) {
      do std::this_thread::sleep_for(1ms);
      while (hold);
      handled.add(delivery.body());
    });
    return consumer;
  };
  auto consumer = make_consumer();
  REQUIRE(eventually([&] { return handled.size() > 20; }, 30s));
  broker.kill();
  REQUIRE(eventually([&] { return consumer->status().running == 0; }));
  hold = true;
  broker.restart();
  // 3.10 brings all of it as redelivered after this, what nobody ever received included; others what was
  // prefetched.
  REQUIRE(eventually([&] { return consumer->status().suspected > 0; }, 30s));
  eventually([&] { return consumer->status().suspected + handled.size() >= backlog - 10; }, 10s);
  std::size_t before = handled.size() + 1;  // that one is begun already
  hold = false;
  std::uint64_t suspected = 0;
  for (int kill = 0; kill < 4; ++kill) {
    CAPTURE(kill);
    REQUIRE(eventually([&] { return handled.size() > before; }, 30s));
    broker.kill();
    // The consumer's end, too: nobody knows then what it had begun.
    suspected += consumer->status().suspected;
    consumer.reset();
    before = handled.size() + 10;
    broker.restart();
    consumer = make_consumer();
  }
  REQUIRE(eventually([&] { return handled.size() == backlog; }, 40s));
  suspected += consumer->status().suspected;
  CHECK(suspected > 0);  // the backlog did come back as redelivered
  CHECK(consumer->status().parked == 0);
  CHECK(connection.open_channel().declare_queue_passive(queue + "_parked").message_count() == 0);
}
