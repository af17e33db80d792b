#include <warren/warren.hpp>

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <mutex>
#include <set>
#include <utility>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/test_queue.hpp"

// POSIX signals, as the code of a handler sees them.

extern char** environ;

using namespace support;
using warren::Connection;
using warren::Consumer;
using warren::Delivery;

namespace {

std::set<int> blocked_here() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  std::set<int> signals;
  for (int signal = 1; signal < NSIG; ++signal) {
    if (::sigismember(&mask, signal) == 1) signals.insert(signal);
  }
  return signals;
}

// Signals that this thread blocks for a while, beside those that it blocks already.
class Blocked {
 public:
  explicit Blocked(const std::set<int>& signals) {
    sigset_t mask;
    ::sigemptyset(&mask);
    for (const int signal : signals) ::sigaddset(&mask, signal);
    ::pthread_sigmask(SIG_BLOCK, &mask, &before_);
  }
  ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t before_;
};

// Starts a program that ends by a signal alone, sends it one, and says which one ended it; 0: it still runs.
int signal_that_ended_a_child(int signal) {
  char name[] = "sleep";
  char seconds[] = "600";
  char* arguments[] = {name, seconds, nullptr};
  pid_t child = 0;
  if (::posix_spawnp(&child, name, nullptr, nullptr, arguments, environ) != 0) return -1;
  ::kill(child, signal);
  int status = 0;
  const bool ended = eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; });
  if (!ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  return ended && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

using Fixture = ConnectedQueue;

}  // namespace

TEST_CASE_METHOD(Fixture, "a handler has the signal mask of the thread that called start() or run()") {
  const bool by_run = GENERATE(false, true);
  const std::set<int> of_choice = GENERATE(std::set<int>{}, std::set<int>{SIGTERM, SIGUSR2});
  queue.fill(8);
  std::mutex mutex;
  std::set<std::set<int>> seen;
  std::atomic<int> handled{0};
  std::stop_source stop;
  const auto handler = [&](const Delivery&) {
    {
      const std::lock_guard lock(mutex);
      seen.insert(blocked_here());
    }
    if (++handled == 8) stop.request_stop();
  };
  Consumer consumer{connection, queue.name(), {.concurrency = 4}};
  std::set<int> of_caller;
  {
    const Blocked blocked(of_choice);
    of_caller = blocked_here();
    by_run ? consumer.run(handler, stop.get_token()) : consumer.start(handler);
  }
  CHECK(eventually([&] { return handled == 8; }));
  consumer.stop();
  CHECK(seen == std::set<std::set<int>>{of_caller});
}

TEST_CASE_METHOD(Fixture, "the handler of a crash guard's suspect has the caller's signal mask, too") {
  queue.fill(1);
  {
    warren::Channel channel = connection.open_channel();
    REQUIRE(channel.get(queue.name()).has_value());
    channel.close();  // it comes redelivered
    REQUIRE(queue.holds(1));
  }
  const TestQueue parked;
  std::set<int> seen;
  {
    Consumer consumer{connection,
                      queue.name(),
                      {.retry = warren::RetryPolicy::immediate({.parked_queue = parked.name()}),
                       .crash_guard = warren::CrashGuardOptions{}}};
    const Blocked blocked({SIGUSR2});
    consumer.start([&](const Delivery&) { seen = blocked_here(); });
    CHECK(eventually([&] { return consumer.status().acked == 1; }));
    consumer.stop();
    CHECK(consumer.status().suspected == 1);
    CHECK(seen == blocked_here());
  }
  connection.open_channel().declare_queue_passive(queue.name() + "_suspect").remove();
}

TEST_CASE_METHOD(Fixture, "a process that a handler starts can be ended by SIGTERM") {
  queue.fill(1);
  std::atomic<int> ended_by{-1};
  Consumer consumer{connection, queue.name()};
  consumer.start([&](const Delivery&) { ended_by = signal_that_ended_a_child(SIGTERM); });
  CHECK(eventually([&] { return consumer.status().acked == 1; }, 30s));
  CHECK(ended_by == SIGTERM);
}
