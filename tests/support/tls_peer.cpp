#include "support/tls_peer.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

#include "support/broker.hpp"

namespace support {

TlsPeer::TlsPeer(const Certificate& certificate, const std::vector<std::string>& arguments)
    : log_(certificates().file(unique_name("s_server"), "")) {
  // Bounded, so that nothing stays behind a test that crashed; line by line, so that output() is up to date.
  std::vector<std::string> words{"timeout", "300", "stdbuf", "-oL", "openssl", "s_server"};
  words.insert(words.end(), {"-accept", "127.0.0.1:0"});
  words.insert(words.end(), {"-cert", certificate.certificate, "-key", certificate.key});
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  auto [stdin_read, stdin_write] = make_pipe();  // open and empty: at its end it would go
  stdin_ = std::move(stdin_write);
  ::posix_spawn_file_actions_adddup2(&files, stdin_read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log_.c_str(), O_WRONLY | O_APPEND, 0);
  ::posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  const int error = ::posix_spawnp(&pid_, "timeout", &files, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw std::runtime_error("can't start openssl s_server");

  const std::string mark = "ACCEPT 127.0.0.1:";
  const bool listens = eventually([&] {
    const std::string text = output();
    const std::size_t at = text.find(mark);
    if (at == text.npos || text.find('\n', at) == text.npos) return false;
    port_ = static_cast<std::uint16_t>(std::stoi(text.substr(at + mark.size())));
    return true;
  });
  if (!listens) throw std::runtime_error("openssl s_server does not listen: " + output());
}

TlsPeer::~TlsPeer() {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

warren::Endpoint TlsPeer::endpoint(const std::string& host) const {
  return {.host = host, .port = port_, .tls = warren::TlsOptions{.ca_file = certificates().ca()}};
}

std::string TlsPeer::output() const {
  std::ifstream log(log_);
  return {std::istreambuf_iterator<char>(log), {}};
}

}  // namespace support
