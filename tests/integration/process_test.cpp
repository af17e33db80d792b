#include <warren/warren.hpp>

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "engine/system.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/sanitizer.hpp"
#include "support/test_queue.hpp"

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;

namespace {

constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};

bool blocks(std::uint64_t mask, int signal) { return ((mask >> (signal - 1)) & 1U) != 0; }

// The signals that this process's threads block whose names begin with "warren-", by their names: any of
// those that have it.
std::map<std::string, std::uint64_t> masks() {
  std::map<std::string, std::uint64_t> masks;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::ifstream comm(task.path() / "comm");
    std::getline(comm, name);
    if (!name.starts_with("warren-")) continue;
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("SigBlk:")) masks[name] |= std::stoull(line.substr(7), nullptr, 16);
    }
  }
  return masks;
}

// On this thread.
struct Blocked {
  explicit Blocked(int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before);
  }
  ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;
  sigset_t before{};
};

ChildResult run_mode(const std::string& mode, const std::string& queue, const std::string& url) {
  // glibc overwrites what is freed: a text that is gone is seen without a sanitizer, too.
  return run_child(
      {WARREN_PROCESS_CHILD},
      {{"WARREN_CHILD", mode}, {"WARREN_CHILD_QUEUE", queue}, {"AMQP_URL", url}, {"MALLOC_PERTURB_", "165"}});
}

}  // namespace

TEST_CASE("no thread blocks the signals of its own faults, and the connection's threads take no others") {
  TestQueue queue;
  const Blocked profiled(SIGPROF);  // as a program may have it that starts its threads so
  auto options = test_options();
  options.on_log = [](const warren::LogEvent&) {};
  Connection connection{shared_broker().endpoint(), options};
  Consumer consumer{connection, queue.name(), {.handler_timeout = 20s}};
  std::atomic<bool> handled{false};
  consumer.start([&](const Delivery&) { handled = true; });
  queue.put("x");
  REQUIRE(eventually([&] { return handled.load(); }));

  // A thread that was just made has its maker's name, and glibc blocks all signals in it, until it comes to
  // run.
  std::map<std::string, std::uint64_t> found;
  const auto settled = [&] {
    found = masks();
    return found.contains("warren-worker") && found.contains("warren-consumer") &&
           found.contains("warren-io") && found.contains("warren-events") &&
           std::none_of(found.begin(), found.end(), [](const auto& thread) {
             return std::any_of(std::begin(faults), std::end(faults),
                                [&](int signal) { return blocks(thread.second, signal); });
           });
  };
  eventually(settled);
  CHECK(found.count("warren-worker") == 1);
  CHECK(found.count("warren-consumer") == 1);
  REQUIRE(found.count("warren-io") == 1);
  REQUIRE(found.count("warren-events") == 1);
  for (const auto& [name, mask] : found) {
    CAPTURE(name);
    for (const int signal : faults) CHECK_FALSE(blocks(mask, signal));
  }
  for (const char* name : {"warren-io", "warren-events"}) {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGALRM, SIGUSR1})
      CHECK(blocks(found.at(name), signal));
  }
  consumer.stop();
}

TEST_CASE("starting a thread lets no signal through that its starter holds back") {
  static std::atomic<int> taken{0};
  struct sigaction before {};
  struct sigaction action {};
  action.sa_handler = [](int) { ++taken; };
  REQUIRE(::sigaction(SIGPROF, &action, &before) == 0);
  {
    const Blocked held_back(SIGPROF);
    REQUIRE(::raise(SIGPROF) == 0);
    warren::engine::start_thread("warren-test", [] {}).join();
    CHECK(taken == 0);
  }
  CHECK(taken == 1);
  ::sigaction(SIGPROF, &before, nullptr);
}

TEST_CASE(
    "StopOnSignal: each signal once, at once, whatever threads there are; then as before; not in a child") {
  const ChildResult result = run_mode("stop_on_signal", "", "");
  CHECK(result.output == "");
  CHECK(result.code == 0);
}

TEST_CASE("without on_log warnings and errors are lines on standard error; LogLevel::none turns all off") {
  const ChildResult result = run_mode("default_log", "", "");
  CHECK(result.output == "");
  CHECK(result.code == 0);
}

TEST_CASE("a crash in a handler reaches the program's crash reporter") {
  TestQueue queue;
  const ChildResult result = run_mode("crash", queue.name(), shared_broker().url());
  CAPTURE(result.output);
  CHECK(result.code == 0);
}

TEST_CASE("a connection at namespace scope works, and so does a publish in a static object's destructor") {
  TestQueue queue;
  const ChildResult result = run_mode("statics", queue.name(), shared_broker().url());
  CAPTURE(result.output);
  CHECK(result.code == 0);
  CHECK(queue.take_all() == std::multiset<std::string>{"before main", "in main", std::string(300, 'x'),
                                                       std::string(100'000, 'y'), "after main"});
}

TEST_CASE("a forked child that exits leaves the parent's connection alone, and is refused what it tries") {
  TestQueue queue;
  const auto mode = GENERATE(as<std::string>(), "fork", "fork_consuming");
  CAPTURE(mode);
  if (!can_start_threads_in_a_child) {
    WARN(
        "the child opens no connection of its own: the thread sanitizer ends who starts threads behind a "
        "fork");
  }
  const ChildResult result = run_mode(mode, queue.name(), shared_broker().url());
  CHECK(result.output == "");
  CHECK(result.code == 0);
}
