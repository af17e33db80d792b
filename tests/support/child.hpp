#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace support {

/// How a program ended, and what it printed.
struct ChildResult {
  int code = 0;  ///< its exit code, or the negative number of the signal that ended it
  std::string output{};
};

/// Runs a program to its end. Its standard error is this process's.
inline ChildResult run_child(std::vector<std::string> command,
                             const std::map<std::string, std::string>& more) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string variable(*each);
    if (more.count(variable.substr(0, variable.find('='))) == 0) variables.push_back(variable);
  }
  for (const auto& [name, value] : more) variables.push_back(name + "=" + value);
  const auto pointers = [](std::vector<std::string>& strings) {
    std::vector<char*> all;
    for (std::string& each : strings) all.push_back(each.data());
    all.push_back(nullptr);
    return all;
  };
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, command.front().c_str(), &actions, nullptr,
                                   pointers(command).data(), pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  ChildResult result;
  std::array<char, 4096> bytes{};
  for (ssize_t count = 0; failed == 0 && (count = ::read(ends[0], bytes.data(), bytes.size())) > 0;)
    result.output.append(bytes.data(), static_cast<std::size_t>(count));
  ::close(ends[0]);
  if (failed != 0) throw std::runtime_error("the program can't be started: " + command.front());
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid");
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return result;
}

}  // namespace support
