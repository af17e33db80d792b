#include "faults/crash_child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>

#include <warren/warren.hpp>

#include "support/catch.hpp"

extern char** environ;

namespace faults {
namespace {

using namespace support;

constexpr const char* child_test = "the process of a consumer whose handler ends it";

void append_line(const char* path, std::string line) {
  const int file = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  line += '\n';
  if (file < 0 || ::write(file, line.data(), line.size()) < 0) ::_exit(3);
  ::close(file);
}

const char* variable(const char* name) {
  const char* value = ::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

}  // namespace

int CrashChild::run() const {
  ::setenv("CRASH_URL", url.c_str(), 1);
  ::setenv("CRASH_QUEUE", queue.c_str(), 1);
  ::setenv("CRASH_PARKED", parked.c_str(), 1);
  ::setenv("CRASH_HANDLED", handled.c_str(), 1);
  ::setenv("CRASH_STARTED", started.c_str(), 1);
  std::string program = "/proc/self/exe";
  std::string name = child_test;
  char* arguments[] = {program.data(), name.data(), nullptr};
  pid_t child = 0;
  if (::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ) != 0)
    throw std::runtime_error("can't start " + program);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// Not a test, and hidden: CrashChild::run() names it.
TEST_CASE(child_test, "[.]") {
  const std::string queue = variable("CRASH_QUEUE");
  const char* handled = variable("CRASH_HANDLED");
  const char* started = variable("CRASH_STARTED");
  warren::Connection connection(variable("CRASH_URL"), test_options());
  warren::Consumer consumer{
      connection,
      queue,
      {.prefetch = 64,
       .retry = warren::RetryPolicy::immediate({.parked_queue = variable("CRASH_PARKED")}),
       .crash_guard = warren::CrashGuardOptions{}}};
  consumer.start([&](const warren::Delivery& delivery) {
    if (delivery.body().starts_with("killer")) {
      append_line(started, std::string(delivery.body()));
      ::_exit(9);
    }
    append_line(handled, std::string(delivery.body()));
  });
  warren::Channel channel = connection.open_channel();
  std::uint64_t settled = 0;
  for (int idle = 0; idle < 20;) {
    const warren::ConsumerStatus status = consumer.status();
    const std::uint64_t now = status.acked + status.parked + status.suspected;
    const bool empty = channel.declare_queue_passive(queue).message_count() == 0 &&
                       channel.declare_queue_passive(queue + "_suspect").message_count() == 0;
    idle = empty && status.running == 0 && status.waiting == 0 && now == settled ? idle + 1 : 0;
    settled = now;
    std::this_thread::sleep_for(10ms);
  }
  consumer.stop();
}

}  // namespace faults
