#include "wire/resolver.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include <warren/error.hpp>

namespace warren::inline v0::wire {
namespace {

struct Answer {
  int error = 0;
  std::vector<Address> addresses{};
};

Answer ask(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  Answer answer{.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found)};
  if (answer.error != 0) return answer;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    char text[NI_MAXHOST];
    Address address{.size = entry->ai_addrlen};
    if (address.size > sizeof address.bytes ||
        ::getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
      continue;
    std::memcpy(&address.bytes, entry->ai_addr, entry->ai_addrlen);
    address.text = text;
    if (std::ranges::find(answer.addresses, address.text, &Address::text) == answer.addresses.end()) {
      answer.addresses.push_back(std::move(address));
    }
  }
  return answer;
}

[[noreturn]] void fail(const std::string& operation, std::string text) {
  throw ConnectionError({.operation = operation, .text = std::move(text), .scope = ErrorScope::connection});
}

// The data that the resolving thread and the waiting thread share. The resolving thread may outlive the wait,
// since getaddrinfo cannot be interrupted.
struct Question {
  explicit Question(const std::string& operation) {
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
      fail(operation, std::error_code(errno, std::system_category()).message());
  }
  ~Question() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  void answered(Answer found) noexcept {
    {
      const std::lock_guard lock(mutex);
      answer = std::move(found);
    }
    const char byte = 0;
    while (::write(ends[1], &byte, 1) < 0 && errno == EINTR) {
    }
  }

  int ends[2] = {-1, -1};  // readable once answered
  std::mutex mutex;
  Answer answer;
};

}  // namespace

std::vector<Address> resolve(const std::string& host, std::uint16_t port,
                             std::chrono::steady_clock::time_point deadline, const Wait& wait,
                             const std::string& operation) {
  Answer answer = ask(host, port, AI_NUMERICHOST);  // needs no server
  if (answer.error != 0) {
    const auto question = std::make_shared<Question>(operation);
    try {
      std::thread([question, host, port] {
        try {
          question->answered(ask(host, port, 0));
        } catch (...) {  // no memory for the answer
          question->answered({.error = EAI_MEMORY});
        }
      }).detach();
    } catch (const std::system_error& failure) {
      fail(operation, failure.what());
    }
    await(wait, question->ends[0], false, deadline, operation, "resolving the host's name");
    const std::lock_guard lock(question->mutex);
    answer = std::move(question->answer);
  }
  if (answer.error != 0) fail(operation, ::gai_strerror(answer.error));
  if (answer.addresses.empty()) fail(operation, "the name has no address");
  return std::move(answer.addresses);
}

}  // namespace warren::inline v0::wire
