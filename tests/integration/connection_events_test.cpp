#include <pthread.h>

#include <warren/warren.hpp>

#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionState;

namespace {

// What the callbacks of a connection were told, and where they ran.
struct Record {
  struct Entry {
    std::optional<warren::StateEvent> state{};
    std::optional<warren::LogEvent> log{};
    std::thread::id thread{};
    std::string thread_name{};
  };

  void add(Entry entry) {
    char name[16] = {};
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    entry.thread = std::this_thread::get_id();
    entry.thread_name = name;
    const std::lock_guard lock(mutex);
    entries.push_back(std::move(entry));
  }

  void install(warren::ConnectionOptions& options) {
    options.on_state = [this](const warren::StateEvent& event) { add({.state = event}); };
    options.on_log = [this](const warren::LogEvent& event) { add({.log = event}); };
  }

  std::vector<ConnectionState> states() const {
    const std::lock_guard lock(mutex);
    std::vector<ConnectionState> result;
    for (const Entry& entry : entries) {
      if (entry.state) result.push_back(entry.state->state);
    }
    return result;
  }

  mutable std::mutex mutex;
  std::vector<Entry> entries;
};

using States = std::vector<ConnectionState>;

}  // namespace

TEST_CASE("states are told in their order, on one thread that is neither the caller's nor the I/O thread",
          "[events]") {
  Record record;
  warren::ConnectionOptions options = test_options();
  record.install(options);
  options.log_level = warren::LogLevel::debug;
  {
    Connection connection{shared_broker().endpoint(), options};
    (void)connection.open_channel();
  }
  CHECK(record.states() == States{ConnectionState::connecting, ConnectionState::open,
                                  ConnectionState::closing, ConnectionState::closed});
  bool logged = false;
  for (const Record::Entry& entry : record.entries) {
    CHECK(entry.thread != std::this_thread::get_id());
    CHECK(entry.thread == record.entries.front().thread);
    CHECK(entry.thread_name != "warren-io");
    if (entry.state) CHECK_FALSE(entry.state->error.has_value());
    if (entry.log) logged = true;
  }
  CHECK(logged);
}

TEST_CASE("a lost connection is told with its error, and logged", "[events]") {
  Record record;
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  record.install(options);
  Connection connection{proxy.endpoint(), options};
  proxy.cut();
  REQUIRE(eventually([&] { return record.states().size() == 3; }));
  CHECK(record.states() ==
        States{ConnectionState::connecting, ConnectionState::open, ConnectionState::failed});
  connection.close();
  std::optional<warren::ErrorDetails> error;
  bool logged = false;
  for (const Record::Entry& entry : record.entries) {
    if (entry.state && entry.state->error) error = entry.state->error;
    if (entry.log && entry.log->level == warren::LogLevel::error) logged = true;
  }
  REQUIRE(error.has_value());
  CHECK(error->scope == warren::ErrorScope::connection);
  CHECK_FALSE(error->text.empty());
  CHECK(logged);
  CHECK(record.states().size() == 3);  // close() of what is lost changes nothing
}

TEST_CASE("a login that fails is told as failed with its error; no log line holds the password", "[events]") {
  Record record;
  warren::ConnectionOptions options = test_options();
  record.install(options);
  options.log_level = warren::LogLevel::debug;
  warren::Endpoint endpoint = shared_broker().endpoint();
  endpoint.password = "a-very-secret-password";
  CHECK_THROWS_AS(Connection(endpoint, options), warren::ConnectionError);
  CHECK(record.states() == States{ConnectionState::connecting, ConnectionState::failed});
  for (const Record::Entry& entry : record.entries) {
    if (entry.log) CHECK_FALSE(contains(entry.log->text, endpoint.password));
    if (entry.state && entry.state->state == ConnectionState::failed) {
      REQUIRE(entry.state->error.has_value());
      CHECK(entry.state->error->code == 403);
    }
  }
}

TEST_CASE("what is below log_level is not reported", "[events]") {
  Record record;
  Proxy proxy(shared_broker().endpoint());
  warren::ConnectionOptions options = test_options();
  record.install(options);
  options.log_level = warren::LogLevel::error;
  Connection connection{proxy.endpoint(), options};
  proxy.cut();
  REQUIRE(eventually([&] { return record.states().size() == 3; }));
  connection.close();
  std::size_t lines = 0;
  for (const Record::Entry& entry : record.entries) {
    if (!entry.log) continue;
    ++lines;
    CHECK(entry.log->level == warren::LogLevel::error);
  }
  CHECK(lines > 0);
}

TEST_CASE("what callbacks throw is dropped, and they are called on", "[events]") {
  std::atomic<int> states{0};
  std::atomic<int> lines{0};
  warren::ConnectionOptions options = test_options();
  options.on_state = [&](const warren::StateEvent&) {
    ++states;
    throw std::runtime_error("from a callback");
  };
  options.on_log = [&](const warren::LogEvent&) {
    ++lines;
    throw 7;
  };
  {
    Connection connection{shared_broker().endpoint(), options};
    CHECK_NOTHROW(connection.open_channel().declare_queue("", {.exclusive = true}));
  }
  CHECK(states == 4);
  CHECK(lines >= 1);
}

TEST_CASE("a callback that blocks holds up neither the connection, its heartbeats, nor close()", "[events]") {
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    bool entered = false;
    bool left = false;
  };
  const auto gate = std::make_shared<Gate>();
  warren::ConnectionOptions options = test_options();
  options.heartbeat = 1s;
  options.close_timeout = 500ms;
  options.on_state = [gate](const warren::StateEvent&) {
    std::unique_lock lock(gate->mutex);
    gate->entered = true;
    gate->changed.notify_all();
    gate->changed.wait(lock, [&] { return gate->open; });
    gate->left = true;
    gate->changed.notify_all();
  };
  {
    Connection connection{shared_broker().endpoint(), options};
    {
      std::unique_lock lock(gate->mutex);
      REQUIRE(gate->changed.wait_for(lock, 30s, [&] { return gate->entered; }));
    }
    warren::Channel channel = connection.open_channel();
    std::this_thread::sleep_for(3s);  // three heartbeats: the broker would give up
    CHECK_NOTHROW(channel.declare_queue("", {.exclusive = true}));
    CHECK(connection.is_open());
    CHECK(time_of([&] { connection.close(); }) < 500ms + slack);
  }
  std::unique_lock lock(gate->mutex);
  gate->open = true;
  gate->changed.notify_all();
  CHECK(gate->changed.wait_for(lock, 30s, [&] { return gate->left; }));
}

TEST_CASE("a callback may close its own connection", "[events]") {
  std::promise<Connection*> promise;
  std::shared_future<Connection*> made = promise.get_future().share();
  warren::ConnectionOptions options = test_options();
  options.on_state = [made](const warren::StateEvent& event) {
    if (event.state == ConnectionState::open) made.get()->close();
  };
  Connection connection{shared_broker().endpoint(), options};
  promise.set_value(&connection);
  CHECK(eventually([&] { return connection.state() == ConnectionState::closed; }));
}

TEST_CASE("many threads close the same connection at once, a callback among them", "[events]") {
  for (int round = 0; round < 20; ++round) {
    std::promise<Connection*> promise;
    std::shared_future<Connection*> made = promise.get_future().share();
    warren::ConnectionOptions options = test_options();
    options.on_state = [made](const warren::StateEvent& event) {
      if (event.state == ConnectionState::open) made.get()->close();
    };
    Connection connection{shared_broker().endpoint(), options};
    {
      std::latch begin(8);
      std::vector<std::jthread> threads;
      for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
          begin.arrive_and_wait();
          connection.close();
        });
      }
      promise.set_value(&connection);
    }
    CHECK(connection.state() == ConnectionState::closed);
  }
}

TEST_CASE("no callback begins once the destructor has returned, however many events are still to be told",
          "[events]") {
  const auto late = std::make_shared<std::atomic<int>>(0);
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  const auto running = std::make_shared<std::atomic<int>>(0);
  const auto slow = [late, gone, running](const auto&) {
    ++*running;
    if (*gone) ++*late;
    std::this_thread::sleep_for(300ms);  // a slow callback is the point
    --*running;
  };
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 100ms;
  options.log_level = warren::LogLevel::debug;
  options.on_state = slow;
  options.on_log = slow;
  {
    Connection connection{shared_broker().endpoint(), options};
    REQUIRE(eventually([&] { return *running == 1; }));
  }
  *gone = true;
  REQUIRE(eventually([&] { return *running == 0; }));
  std::this_thread::sleep_for(100ms);  // time for what must not happen
  CHECK(*late == 0);
}
