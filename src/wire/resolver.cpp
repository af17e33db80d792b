#include "wire/resolver.hpp"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
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
  std::vector<std::string> addresses{};
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
    if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
      continue;
    if (std::find(answer.addresses.begin(), answer.addresses.end(), text) == answer.addresses.end()) {
      answer.addresses.emplace_back(text);
    }
  }
  return answer;
}

[[noreturn]] void fail(const std::string& operation, std::string text) {
  throw ConnectionError({.operation = operation, .text = std::move(text), .scope = ErrorScope::connection});
}

}  // namespace

std::vector<std::string> resolve(const std::string& host, std::uint16_t port,
                                 std::chrono::steady_clock::time_point deadline,
                                 const std::string& operation) {
  Answer answer = ask(host, port, AI_NUMERICHOST);  // asks nobody
  if (answer.error != 0) {
    struct Shared {
      std::mutex mutex;
      std::condition_variable done;
      std::unique_ptr<Answer> answer;
    };
    const auto shared = std::make_shared<Shared>();
    try {
      std::thread([shared, host, port] {
        auto found = std::make_unique<Answer>(ask(host, port, 0));
        const std::lock_guard lock(shared->mutex);
        shared->answer = std::move(found);
        shared->done.notify_all();
      }).detach();
    } catch (const std::system_error& failure) {
      fail(operation, failure.what());
    }
    std::unique_lock lock(shared->mutex);
    if (!shared->done.wait_until(lock, deadline, [&] { return shared->answer != nullptr; })) {
      fail(operation, "the name was not resolved before the deadline");
    }
    answer = std::move(*shared->answer);
  }
  if (answer.error != 0) fail(operation, ::gai_strerror(answer.error));
  if (answer.addresses.empty()) fail(operation, "the name has no address");
  return std::move(answer.addresses);
}

}  // namespace warren::inline v0::wire
