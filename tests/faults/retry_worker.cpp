// The consumer that retry_clients_test.cpp kills: each order fails twice, waits, and succeeds at the third
// run, which is written to a file. Arguments: URL, queue, file.

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include <warren/warren.hpp>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int file = ::open(argv[3], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return 2;
  try {
    warren::Connection connection{argv[1]};
    warren::Consumer consumer{
        connection,
        argv[2],
        {.prefetch = 32, .concurrency = 4, .retry = warren::RetryPolicy::delays({100ms, 300ms})}};
    consumer.run([&](const warren::Delivery& delivery) {
      thread_local std::minstd_rand random{std::random_device{}()};
      std::this_thread::sleep_for(random() % 3 * 1ms);  // its work
      if (delivery.retry().attempt < 3) throw std::runtime_error("on purpose");
      const std::string line = std::string(delivery.body()) + '\n';
      if (::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        throw std::runtime_error("file");
    });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
