#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "null_broker.hpp"

namespace bench {
namespace {

void check(int error, const char* what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

struct Pipe {
  Pipe() { check(::pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno, "pipe"); }
  ~Pipe() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(int end) { ::close(std::exchange(ends[end], -1)); }

  int ends[2] = {-1, -1};
};

}  // namespace

NullProcess::NullProcess(const char* program, const NullBrokerOptions& options) {
  Pipe input;
  Pipe output;
  posix_spawn_file_actions_t actions;
  check(::posix_spawn_file_actions_init(&actions), "posix_spawn_file_actions_init");
  ::posix_spawn_file_actions_adddup2(&actions, input.ends[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  std::string size = std::to_string(options.size);
  std::string words[] = {program, "null-broker", "--size", size, "--echo"};
  char* arguments[] = {words[0].data(),
                       words[1].data(),
                       words[2].data(),
                       words[3].data(),
                       options.echo ? words[4].data() : nullptr,
                       nullptr};
  const int error = ::posix_spawnp(&process_, program, &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  check(error, "start the null broker");
  input.close(0);
  output.close(1);
  input_ = std::exchange(input.ends[1], -1);

  std::string line;
  for (char byte = 0; ::read(output.ends[0], &byte, 1) == 1 && byte != '\n';) line += byte;
  port_ = line.empty() ? std::uint16_t{0} : static_cast<std::uint16_t>(std::stoi(line));
  if (port_ != 0) return;
  ::close(input_);
  ::waitpid(process_, nullptr, 0);
  throw std::runtime_error("the null broker did not start");
}

NullProcess::~NullProcess() {
  ::close(input_);
  ::waitpid(process_, nullptr, 0);
}

}  // namespace bench
