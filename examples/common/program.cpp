#include "common/program.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace examples {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// False where the stop came first.
bool sleep_unless_stopped(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  return !stopped.wait_for(lock, stop, time, [&] { return stop.stop_requested(); });
}

}  // namespace

StopOnSignal::StopOnSignal() {
  const sigset_t signals = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  thread_ = std::jthread([this](const std::stop_token& ended) {
    const sigset_t awaited = stop_signals();
    int signal = 0;
    while (::sigwait(&awaited, &signal) != 0) {
    }
    if (!ended.stop_requested()) source_.request_stop();
  });
}

StopOnSignal::~StopOnSignal() {
  thread_.request_stop();
  ::pthread_kill(thread_.native_handle(),
                 SIGTERM);  // it waits for one; where it had its own, this stays pending
}

void add_to(CLI::App& app, BrokerOptions& options) {
  const char* environment = std::getenv("AMQP_URL");
  options.url =
      environment != nullptr && *environment != '\0' ? environment : "amqp://guest:guest@localhost/";
  app.add_option("--url", options.url, "The broker (else the environment's AMQP_URL, else the local one)");
  app.add_option("--connect-timeout", options.connect_timeout, "Seconds to keep trying to reach the broker")
      ->check(CLI::Range(0.0, 86'400.0))
      ->capture_default_str();
}

warren::Connection connect(const BrokerOptions& options, const std::string& name,
                           const std::stop_token& stop) {
  const auto deadline =
      Clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(options.connect_timeout * 1'000));
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    try {
      return warren::Connection(options.url, {.name = name, .connect_timeout = std::max(left, 1ms)});
    } catch (const warren::ConnectionError& error) {
      if (error.permanent() || Clock::now() + 500ms >= deadline || !sleep_unless_stopped(stop, 500ms)) throw;
    }
  }
}

void print_line(std::string line) { write_all(STDOUT_FILENO, std::move(line += '\n')); }
void print_error(std::string line) { write_all(STDERR_FILENO, std::move(line += '\n')); }

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return body();
  } catch (const warren::InvalidArgument& error) {
    print_error(app.get_name() + ": " + error.what());
    return 2;
  } catch (const std::exception& error) {
    print_error(app.get_name() + ": " + error.what());
    return 1;
  }
}

}  // namespace examples
