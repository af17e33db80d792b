// A client that lacks memory, threads or descriptors, and one whose clock jumps or that is suspended: what
// starved_child.cpp does, in a process of its own for each case.

#include <warren/warren.hpp>

#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "faults/report.hpp"
#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/sanitizer.hpp"

using namespace support;
using namespace faults;

namespace {

constexpr int never_asked_for = 3;  // an exit code: what was to fail was not asked for

ChildResult starve(std::vector<std::string> words, const std::map<std::string, std::string>& more = {}) {
  words.insert(words.begin(), WARREN_STARVED);
  return run_child(words, more);
}

void check_survives(const std::vector<std::string>& words,
                    const std::map<std::string, std::string>& more = {}) {
  const ChildResult result = starve(words, more);
  std::string what;
  for (const std::string& word : words) what += word + ' ';
  INFO(what << "ended: " << result.output);
  CHECK(result.code == 0);
}

// One program that is stopped and continued meanwhile.
class Suspended {
 public:
  Suspended() {
    std::array<int, 2> input{};
    std::array<int, 2> output{};
    if (::pipe2(input.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0)
      throw std::runtime_error("pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
    std::string program = WARREN_STARVED;
    std::string mode = "suspended";
    char* words[] = {program.data(), mode.data(), nullptr};
    const int failed = ::posix_spawn(&id_, program.c_str(), &actions, nullptr, words, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(input[0]);
    ::close(output[1]);
    input_ = input[1];
    output_ = output[0];
    if (failed != 0) throw std::runtime_error("the program can't be started");
  }
  ~Suspended() {
    if (id_ != 0) (void)finish();
  }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

  [[nodiscard]] pid_t id() const noexcept { return id_; }
  // Blocks until it has printed something more.
  void await_output() {
    std::array<char, 256> bytes{};
    const ssize_t count = ::read(output_, bytes.data(), bytes.size());
    if (count > 0) text_.append(bytes.data(), static_cast<std::size_t>(count));
  }
  // Lets it come to its end.
  ChildResult finish() {
    ::kill(id_, SIGCONT);
    ::close(input_);
    std::array<char, 256> bytes{};
    for (ssize_t count = 0; (count = ::read(output_, bytes.data(), bytes.size())) > 0;)
      text_.append(bytes.data(), static_cast<std::size_t>(count));
    ::close(output_);
    int status = 0;
    ::waitpid(id_, &status, 0);
    id_ = 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), text_};
  }

 private:
  pid_t id_ = 0;
  int input_ = -1;
  int output_ = -1;
  std::string text_;
};

// The process of a broker, as private_broker.sh notes it.
pid_t process_of(const Broker& broker) {
  pid_t id = 0;
  std::ifstream(broker.folder() + "/run/beam") >> id;
  return id;
}

// What a client does beside: publishes, and handles what it published.
struct Client {
  explicit Client(const Broker& broker, std::chrono::milliseconds timeout = 2s)
      : connection(broker.endpoint(), watch.options(options())),
        queue(connection.open_channel().declare_queue(unique_name("starved")).name()),
        publisher(connection, {.routing_key = queue, .timeout = timeout}),
        consumer(connection, queue) {
    consumer.start([this](const warren::Delivery& delivery) {
      const std::lock_guard lock(mutex);
      handled.insert(std::string(delivery.body()));
    });
  }
  static warren::ConnectionOptions options() {
    warren::ConnectionOptions wanted = recovering_options();
    wanted.heartbeat = 2s;
    wanted.connect_timeout = 2s;
    return wanted;
  }
  void publish(const std::string& body) {
    publisher.publish(warren::Message(body));
    confirmed.insert(body);
  }
  // All that was confirmed was handled.
  [[nodiscard]] bool has_handled_all() {
    const std::lock_guard lock(mutex);
    return std::includes(handled.begin(), handled.end(), confirmed.begin(), confirmed.end());
  }

  Watch watch;
  warren::Connection connection;
  std::string queue;
  warren::Publisher publisher;
  std::set<std::string> confirmed;
  std::mutex mutex;
  std::set<std::string> handled;
  warren::Consumer consumer;
};

// Of Debian's package faketime; empty if it is not installed.
std::filesystem::path find_faketime() {
  for (const auto& each : std::filesystem::directory_iterator("/usr/lib")) {
    const auto library = each.path() / "faketime" / "libfaketimeMT.so.1";
    if (std::error_code ignored; std::filesystem::exists(library, ignored)) return library;
  }
  return {};
}

// One test after the other for each of them, several at once; all that is wrong.
std::vector<std::string> run_beside(std::vector<std::function<void(std::vector<std::string>& wrong)>> all) {
  constexpr std::size_t most = 4;  // at once: each mostly waits
  std::vector<std::string> wrong;
  std::mutex mutex;
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < most; ++i) {
    threads.emplace_back([&] {
      for (std::size_t at = 0; (at = next++) < all.size();) {
        std::vector<std::string> here;
        all[at](here);
        const std::lock_guard lock(mutex);
        wrong.insert(wrong.end(), here.begin(), here.end());
      }
    });
  }
  for (std::thread& each : threads) each.join();
  return wrong;
}

}  // namespace

// Each thread of the library's, the resolver's and the application's own, in three scenarios. Of the first 60
// allocations each one fails in turn if WARREN_STARVED_STEP is 1. By default it is each third one, begun with
// another one in each sequence, so that the suite takes less than 90 s.
TEST_CASE("one failed allocation costs a call or the connection, which recovers, and no confirmed message",
          "[faults][starved]") {
  constexpr long most = 60;
  const char* given = std::getenv("WARREN_STARVED_STEP");
  const long step = given == nullptr ? (is_sanitized ? 15 : 3) : std::atol(given);
  std::vector<std::function<void(std::vector<std::string>&)>> sequences;
  std::atomic<long> cases{0};
  long first = 0;
  for (const char* thread :
       {"main", "warren-io", "warren-recovery", "warren-consumer", "warren-worker", "warren-events",
        "warren-watch", "warren-guard", "warren-suspects", "resolver"}) {
    for (const char* scenario : {"load", "storm", "loss"}) {
      first = first % step + 1;
      sequences.emplace_back([=, &cases](std::vector<std::string>& wrong) {
        // The first allocation, too: some threads ask for no more than a few.
        for (long nth = 1; nth <= most; nth = nth == 1 && first > 1 ? first : nth + step) {
          const ChildResult result = starve({"memory", scenario, thread, std::to_string(nth)});
          ++cases;
          if (result.code == never_asked_for) return;
          if (result.code != 0)
            wrong.push_back(std::string(scenario) + ", " + thread + ", allocation " + std::to_string(nth) +
                            ": ended with " + std::to_string(result.code) + ": " + result.output);
        }
      });
    }
  }
  const auto wrong = run_beside(std::move(sequences));
  std::cout << "one failed allocation: " << cases << " cases; of each thread and scenario one of " << step
            << " of the first " << most << " allocations\n";
  for (const std::string& each : wrong) std::cout << each << '\n';
  CHECK(wrong.empty());
  CHECK(cases > 30);
}

TEST_CASE("without any memory for a while a connection is lost, and recovers", "[faults][starved]") {
  for (const char* scenario : {"loss", "storm", "load"}) check_survives({"memory", scenario, "all", "0"});
}

TEST_CASE("a connection that is lost while there is no thread is tried again", "[faults][starved]") {
  check_survives({"threads", "loss"});
}

TEST_CASE("a consumer has all its threads before its first message", "[faults][starved]") {
  check_survives({"threads", "work"});
}

TEST_CASE("a consumer that finds no thread ends with that error, and no message is parked",
          "[faults][starved]") {
  check_survives({"threads", "start"});
}

TEST_CASE("a connection that finds no thread fails with that error", "[faults][starved]") {
  check_survives({"threads", "opening"});
}

TEST_CASE("without descriptors a connection fails, or recovers once there are some", "[faults][starved]") {
  if (is_sanitized) {
    WARN("skipped: the sanitizer for undefined behaviour needs descriptors of its own");
    return;
  }
  for (int spare = 0; spare <= 8; ++spare) check_survives({"descriptors", std::to_string(spare)});
}

TEST_CASE("at the limit of the address space calls fail, and the connection recovers", "[faults][starved]") {
  if (is_sanitized) {
    WARN("skipped: a sanitizer needs more address space than can be limited");
    return;
  }
  check_survives({"address_space"});
}

TEST_CASE("no descriptor is inherited by a child that is forked beside", "[faults][starved]") {
  check_survives({"inherited"});
}

TEST_CASE("a system clock that jumps by a day costs no connection, no delay and no message",
          "[faults][starved]") {
  const std::filesystem::path library = find_faketime();
  if (is_sanitized || library.empty()) {
    WARN("skipped: " << (is_sanitized ? "a sanitizer is to be loaded before libfaketime"
                                      : "libfaketime is not there (Debian's package faketime)"));
    return;
  }
  const std::string folder = new_broker_folder("warren-clock");
  const std::string file = folder + "/offset";
  std::ofstream(file) << "+0d\n";
  check_survives({"clock", file}, {{"LD_PRELOAD", library.string()},
                                   {"FAKETIME_TIMESTAMP_FILE", file},
                                   {"FAKETIME_NO_CACHE", "1"},
                                   {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}});
  std::filesystem::remove_all(folder);
}

TEST_CASE("a client that was suspended for longer than its heartbeats recovers", "[faults][starved]") {
  const Broker& broker = shared_broker();
  Suspended client;
  client.await_output();
  const std::string name = "starved-" + std::to_string(client.id());
  const auto is_known = [&] { return contains(broker.ctl({"list_connections", "client_properties"}), name); };
  REQUIRE(is_known());
  REQUIRE(::kill(client.id(), SIGSTOP) == 0);
  const bool dropped = eventually([&] { return !is_known(); }, 60s);
  const ChildResult result = client.finish();
  INFO(result.output);
  CHECK(dropped);
  CHECK(result.code == 0);
}

TEST_CASE("a broker that was suspended for longer than the heartbeats is connected to again",
          "[faults][starved]") {
  PrivateBroker broker;
  Client client(broker);
  client.publish("before");
  const pid_t process = process_of(broker);
  REQUIRE(process > 0);
  REQUIRE(::kill(process, SIGSTOP) == 0);
  // Each call ends by its own deadline.
  CHECK_THROWS_AS(client.publish("in doubt"), warren::Error);
  CHECK(eventually([&] { return client.watch.count(warren::ConnectionState::waiting) > 0; }, 60s));
  CHECK_THROWS_AS(client.publish("not sent"), warren::Error);
  CHECK(client.connection.state() != warren::ConnectionState::failed);
  REQUIRE(::kill(process, SIGCONT) == 0);
  CHECK(eventually([&] { return client.connection.is_open(); }, 60s));
  CHECK(eventually([&] {
    try {
      client.publish("after");
      return true;
    } catch (const warren::Error&) {
      return false;
    }
  }));
  CHECK(eventually([&] { return client.has_handled_all(); }));
}

TEST_CASE("a full disk of the broker's blocks publishers, not consumers, until there is room again",
          "[faults][starved]") {
  PrivateBroker broker;
  Client client(broker, 1s);
  client.publish("before");
  broker.ctl({"set_disk_free_limit", "1000000000000000000"});
  // The first publish makes the broker say so; from then on nothing is sent.
  CHECK(eventually([&] {
    try {
      client.publish("in doubt");
      return false;
    } catch (const warren::BlockedError&) {
      return true;
    } catch (const warren::TimeoutError&) {
      return false;
    }
  }));
  CHECK(client.connection.is_open());
  CHECK(client.connection.blocked());
  CHECK(eventually([&] { return client.has_handled_all(); }));
  broker.ctl({"set_disk_free_limit", "50MB"});
  CHECK(eventually([&] { return !client.connection.blocked(); }, 60s));
  client.publish("after");
  CHECK(eventually([&] { return client.has_handled_all(); }));
  CHECK(client.watch.count(warren::ConnectionState::waiting) == 0);
}
