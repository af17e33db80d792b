#include "common/program.hpp"

#include <poll.h>
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
  const auto timeout = std::max(to_milliseconds(options.connect_timeout), 1ms);
  try {
    return warren::Connection(options.url, reported({.name = name,
                                                     .connect_timeout = timeout,
                                                     .first_connect = {.within = timeout, .stop = stop}}));
  } catch (const warren::ConnectionError& error) {
    if (stop.stop_requested()) throw Stopped{};
    if (error.permanent()) throw;
    throw std::runtime_error(std::string("the broker can't be reached: ") + error.what());
  }
}

void print_line(const std::string& line) {
  if (write_line(STDOUT_FILENO, line)) return;
  print_error("standard output can't be written to");
  std::_Exit(1);
}

void print_error(const std::string& line) { write_line(STDERR_FILENO, line); }

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  ::signal(SIGPIPE, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return body();
  } catch (const Stopped&) {
    return 0;
  } catch (const warren::InvalidArgument& error) {
    print_error(app.get_name() + ": " + error.what());
    return 2;
  } catch (const std::exception& error) {
    print_error(app.get_name() + ": " + error.what());
    return 1;
  }
}

}  // namespace examples
