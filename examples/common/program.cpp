#include "common/program.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
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

// Mostly one write; the lock is for those that a full pipe cuts in two. Anybody may have written parts of the
// line: nothing in it reaches a terminal as a control character.
bool write_line(int descriptor, const std::string& text) {
  static std::mutex mutex;
  const std::string line = warren::printable(text) + '\n';
  const std::lock_guard lock(mutex);
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd writable{.fd = descriptor, .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// Says when the broker goes and comes, and, in between, what keeps the library from its work: a copy that the
// broker doesn't take, say. What is tried without a connection, recovery tells of.
struct Reporter {
  bool lost = false;
  bool connected = false;

  void state(const warren::StateEvent& event) {
    connected = event.state == warren::ConnectionState::open;
    if (event.state == warren::ConnectionState::waiting && !std::exchange(lost, true)) {
      print_error("The connection is lost, trying again" + (event.error ? ": " + event.error->text : ""));
    } else if (connected && std::exchange(lost, false)) {
      print_error("Connected again");
    }
  }
  void log(const warren::LogEvent& event) const {
    if (connected) print_error(event.text);
  }
};

warren::ConnectionOptions reported(warren::ConnectionOptions options) {
  auto reporter = std::make_shared<Reporter>();  // its calls come one at a time
  options.log_level = warren::LogLevel::warning;
  options.on_log = [reporter](const warren::LogEvent& event) { reporter->log(event); };
  options.on_state = [reporter](const warren::StateEvent& event) { reporter->state(event); };
  return options;
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
  // It waits for one; where it had its own, this one stays pending.
  ::pthread_kill(thread_.native_handle(), SIGTERM);  // NOLINT(bugprone-bad-signal-to-kill-thread): awaited
}

void add_to(CLI::App& app, BrokerOptions& options) {
  const char* environment = std::getenv("AMQP_URL");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  options.url =
      environment != nullptr && *environment != '\0' ? environment : "amqp://guest:guest@localhost/";
  app.add_option("--url", options.url, "The broker (else the environment's AMQP_URL, else the local one)");
  app.add_option("--connect-timeout", options.connect_timeout, "Seconds to keep trying to reach the broker")
      ->check(between(0, 86'400))
      ->capture_default_str();
}

CLI::Validator between(double low, double high) {
  const CLI::Range range(low, high);
  return CLI::Validator(
      [range](std::string& text) {
        double value = 0;
        const bool number = CLI::detail::lexical_cast(text, value) && value == value;
        return number ? range(text) : "Value " + text + " is not a number";
      },
      range.get_description());
}

std::chrono::milliseconds to_milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1'000));
}

warren::Connection connect(const BrokerOptions& options, const std::string& name,
                           const std::stop_token& stop) {
  const std::stop_callback leave(stop, [] { std::_Exit(0); });
  const auto timeout = std::max(to_milliseconds(options.connect_timeout), 1ms);
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    // The connection takes as long for each later recovery, too: even the last try must leave time for those.
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    const auto for_one =
        std::max<std::chrono::milliseconds>(left, std::min<std::chrono::milliseconds>(timeout, 5s));
    try {
      return warren::Connection(options.url, reported({.name = name, .connect_timeout = for_one}));
    } catch (const warren::Error& error) {
      if (error.permanent()) throw;
      const auto rest = deadline - Clock::now();
      if (rest <= 0s) throw std::runtime_error(std::string("the broker can't be reached: ") + error.what());
      std::this_thread::sleep_for(std::min<Clock::duration>(rest, 500ms));
    }
  }
}

void print_line(const std::string& line) {
  if (write_line(STDOUT_FILENO, line)) return;
  print_error("standard output can't be written to");
  std::_Exit(1);
}

void print_error(const std::string& line) { write_line(STDERR_FILENO, line); }

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
