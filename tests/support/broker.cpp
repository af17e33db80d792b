#include "support/broker.hpp"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>

#include <warren/connection.hpp>
#include <warren/error.hpp>
#include "support/sockets.hpp"

namespace support {
namespace {

std::string shell_word(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// What a command prints on stdout; its stderr is ours.
std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) throw std::runtime_error("can't run " + command);
  std::string output;
  char buffer[4'096];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, count);
  const int status = ::pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error(command + " failed: " + output);
  return output;
}

std::string script(const char* command, const std::string& folder) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "private_broker.sh";
  return shell_word(path.string()) + " " + command + " " + shell_word(folder);
}

std::string line_of(std::string output) {
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

}  // namespace

std::pair<int, int> Broker::version() const {
  const warren::Endpoint at = endpoint();
  const Descriptor socket = connect_to(at.host, at.effective_port());
  const std::string_view header("AMQP\0\0\x09\x01", 8);
  if (::send(socket.get(), header.data(), header.size(), MSG_NOSIGNAL) != 8)
    throw std::runtime_error("no broker");
  // connection.start: among the server's properties is "version", a long string.
  std::string start;
  const std::string key("\x07versionS");
  for (char buffer[4'096];;) {
    pollfd polled{socket.get(), POLLIN, 0};
    if (::poll(&polled, 1, 15'000) <= 0) throw std::runtime_error("the broker says nothing");
    const ssize_t count = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (count <= 0) throw std::runtime_error("the broker does not say its version");
    start.append(buffer, static_cast<std::size_t>(count));
    const std::size_t found = start.find(key);
    if (found == std::string::npos || start.size() < found + key.size() + 4 + 16) continue;
    int major = 0;
    int minor = 0;
    if (std::sscanf(start.c_str() + found + key.size() + 4, "%d.%d", &major, &minor) != 2) {
      throw std::runtime_error("a version that is none");
    }
    return {major, minor};
  }
}

std::string Broker::ctl(const std::vector<std::string>& arguments) const {
  if (folder_.empty()) throw std::runtime_error("WARREN_TEST_BROKER_DIR is not set: run tests/run.sh");
  std::string command = script("ctl", folder_) + " --quiet";
  for (const std::string& argument : arguments) command.append(1, ' ').append(shell_word(argument));
  return output_of(command);
}

// The monitor behind it looks when it is told, or a second later.
void Broker::begin_memory_alarm() const {
  ctl({"set_vm_memory_high_watermark", "0"});
  const auto has_begun = [this] {
    return ctl({"eval", "rabbit_alarm:get_alarms()."}).find("memory") != std::string::npos;
  };
  if (!eventually(has_begun)) throw std::runtime_error("no memory alarm");
}

void Broker::end_memory_alarm() const { ctl({"set_vm_memory_high_watermark", "absolute", "1GB"}); }

std::vector<std::vector<std::string>> Broker::list(std::vector<std::string> arguments) const {
  arguments.emplace_back("--no-table-headers");
  std::vector<std::vector<std::string>> rows;
  std::istringstream output(ctl(arguments));
  for (std::string line; std::getline(output, line);) {
    std::vector<std::string>& row = rows.emplace_back();
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = line.find('\t', begin)) != std::string::npos; begin = end + 1) {
      row.push_back(line.substr(begin, end - begin));
    }
    row.push_back(line.substr(begin));
  }
  return rows;
}

const Broker& shared_broker() {
  static const Broker broker = [] {
    const char* url = ::getenv("AMQP_URL");
    if (url == nullptr)
      throw std::runtime_error("AMQP_URL is not set: run tests/run.sh, which starts a broker");
    const char* folder = ::getenv("WARREN_TEST_BROKER_DIR");
    return Broker(url, folder == nullptr ? "" : folder);
  }();
  return broker;
}

PrivateBroker::PrivateBroker(const std::string& conf, const std::string& shared)
    : Broker("", new_broker_folder("warren-broker")) {
  try {
    url_ = line_of(output_of("WARREN_BROKER_CONF=" + shell_word(conf) +
                             " WARREN_BROKER_SHARED=" + shell_word(shared) + " " + script("start", folder_)));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
    throw;
  }
}

PrivateBroker::~PrivateBroker() { end_broker_folder(folder_); }

void PrivateBroker::stop() { output_of(script("stop", folder_)); }
void PrivateBroker::kill() { output_of(script("kill", folder_)); }
void PrivateBroker::restart() { output_of(script("restart", folder_)); }

std::uint16_t PrivateBroker::spare_port() const {
  return static_cast<std::uint16_t>(std::stoi(output_of(script("port", folder_))));
}

std::string new_broker_folder(std::string_view prefix) {
  const char* shared = ::getenv("WARREN_TEST_BROKER_DIR");
  const auto parent =
      shared != nullptr ? std::filesystem::path(shared) / "own" : std::filesystem::temp_directory_path();
  std::filesystem::create_directories(parent);
  std::string pattern = (parent / (std::string(prefix) + "-XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("can't make the folder " + pattern);
  return pattern;
}

void end_broker_folder(const std::string& folder) noexcept {
  // Nobody needs its data: SIGKILL, and no error where it has ended already.
  try {
    output_of(script("kill", folder) + " 2>/dev/null || " + script("stop", folder));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

std::string unique_name(std::string_view prefix) {
  static const unsigned run = std::random_device{}();
  static std::atomic<unsigned> count{0};
  std::ostringstream name;
  name << prefix << '-' << std::hex << run << '-' << ++count;
  return name.str();
}

std::chrono::milliseconds time_of_login(const warren::Endpoint& endpoint) {
  return time_of([&] {
    const auto logs_in = [&] {
      try {
        const warren::Connection connection{endpoint, test_options()};
        return true;
      } catch (const warren::ConnectionError&) {
        return false;
      }
    };
    if (!eventually(logs_in)) throw std::runtime_error("the broker takes no login");
  });
}

warren::ConnectionOptions test_options(std::string name) {
  warren::ConnectionOptions options{
      .name = std::move(name), .connect_timeout = 20s, .operation_timeout = 30s, .close_timeout = 10s};
  options.recovery.enabled = false;
  return options;
}

}  // namespace support
