// starved_child.cpp's modes but for the lack of memory.

#include "faults/starved.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <map>
#include <string_view>

namespace starved {
namespace {

// None at the first loss: recovery has its threads already. A name has to be resolved on a thread of its own,
// which is tried again.
int threads_at_a_loss() {
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const bool resolves = std::string_view(host) == "localhost";
    warren::Endpoint endpoint = broker();
    endpoint.host = host;
    warren::Connection connection(endpoint, options());
    warren::Channel channel = connection.open_channel();
    starvation::starve_of_threads(0);
    cut();
    if (resolves) {
      must(eventually([] { return starvation::threads_refused() > 2; }), "it is not tried again");
    } else {
      must(eventually([&] { return connection.state() != warren::ConnectionState::open; }), "it is not lost");
    }
    must(connection.state() != warren::ConnectionState::failed, "it has failed");
    if (resolves) starvation::starve_of_threads(1'000);
    must(eventually([&] { return connection.is_open(); }), "it does not recover");
    (void)channel.declare_queue("", {.durable = false, .exclusive = true});
    starvation::starve_of_threads(1'000);
  }
  return 0;
}

// None while a message is handled, with all that a consumer can have.
int threads_at_work() {
  const Queues queues;
  warren::Connection connection(broker(), options());
  warren::Publisher publisher(connection, {.routing_key = queues.name});
  std::atomic<int> runs{0};
  warren::Consumer consumer(connection, queues.name,
                            {.retry = warren::RetryPolicy::immediate({.max_attempts = 1}),
                             .handler_timeout = 10s,
                             .crash_guard = warren::CrashGuardOptions{},
                             .on_end = [](std::exception_ptr) {}});
  consumer.start([&](const warren::Delivery&) { ++runs; });
  starvation::starve_of_threads(0);
  publisher.publish(warren::Message("1"));
  must(eventually([&] { return consumer.status().acked == 1; }), "the message is not handled");
  must(runs == 1, "the handler did not run once");
  must(consumer.status().parked == 0, "the message was parked");
  must(starvation::threads_refused() == 0, "a thread was asked for");
  starvation::starve_of_threads(1'000);
  consumer.stop();
  return 0;
}

// None from one on, while a consumer starts: the run ends with that error, and the message stays.
int threads_at_a_start() {
  const Queues queues;
  Ids published;
  warren::Connection connection(broker(), options());
  {
    warren::Publisher publisher(connection, {.routing_key = queues.name});
    publisher.publish(warren::Message("1"));
    published.add(1);
  }
  for (std::size_t after = 0;; ++after) {
    must(after < 20, "it never starts");
    starvation::starve_of_threads(1'000);
    std::atomic<int> runs{0};
    std::atomic<bool> release{false};
    warren::Consumer consumer(connection, queues.name,
                              {.concurrency = 2,
                               .retry = warren::RetryPolicy::immediate({.max_attempts = 1}),
                               .handler_timeout = 10s,
                               .crash_guard = warren::CrashGuardOptions{},
                               .on_end = [](std::exception_ptr) {}});
    const std::size_t refused = starvation::threads_refused();
    starvation::starve_of_threads(after);
    std::optional<std::string> failed = attempt([&] {
      consumer.start([&](const warren::Delivery&) {
        ++runs;
        (void)eventually([&] { return release.load(); }, 20s);
        throw std::runtime_error("not this time");
      });
    });
    if (starvation::threads_refused() == refused) {  // as many as it needs
      starvation::starve_of_threads(1'000);
      release = true;
      must(!failed, "it has its threads, and does not start: " + failed.value_or(""));
      must(eventually([&] { return consumer.status().parked == 1; }), "the message is not handled");
      consumer.stop();
      return 0;
    }
    if (!failed) failed = attempt([&] { consumer.wait_for(20s); });
    must(failed && failed->find("thread") != std::string::npos,
         "it does not end with that error: " + failed.value_or("nothing"));
    release = true;
    must(consumer.status().parked == 0, "a message was parked");
  }
}

// None from one on, while a connection is made.
int threads_at_an_opening() {
  for (std::size_t after = 0;; ++after) {
    must(after < 20, "it never opens");
    starvation::starve_of_threads(after);
    const std::size_t refused = starvation::threads_refused();
    const auto failed = attempt([&] {
      warren::Connection connection(broker(), options());
      must(starvation::threads_refused() == refused, "it opens without a thread");
    });
    if (starvation::threads_refused() == refused) {
      must(!failed, "it has its threads, and does not open: " + failed.value_or(""));
      return 0;
    }
    must(failed && failed->find("thread") != std::string::npos, "another error: " + failed.value_or("none"));
  }
}

// Leaves so many descriptors, until the end of the object.
class SpareDescriptors {
 public:
  explicit SpareDescriptors(rlim_t spare) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit low{256, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int each = 0; (each = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken_.push_back(each);
    for (; spare > 0; --spare, taken_.pop_back()) ::close(taken_.back());
  }
  ~SpareDescriptors() {
    for (const int each : taken_) ::close(each);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }
  SpareDescriptors(const SpareDescriptors&) = delete;
  SpareDescriptors& operator=(const SpareDescriptors&) = delete;

 private:
  rlimit before_{};
  std::vector<int> taken_;
};

}  // namespace

int threads(const Words& words) {
  if (words.at(0) == "loss") return threads_at_a_loss();
  if (words[0] == "work") return threads_at_work();
  if (words[0] == "start") return threads_at_a_start();
  if (words[0] == "opening") return threads_at_an_opening();
  throw Wrong{"there is no such mode"};
}

// So many are left while a connection is made, and while another one is lost.
int descriptors(const Words& words) {
  const auto spare = static_cast<rlim_t>(std::atol(words.at(0).c_str()));
  const Queues queues;
  warren::Endpoint endpoint = broker();
  endpoint.host = "localhost";  // to be resolved, which takes some, too
  {
    std::optional<warren::Connection> connection;
    std::optional<std::string> failed;
    {
      const SpareDescriptors few(spare);
      failed = attempt([&] { connection.emplace(endpoint, options()); });
      must(failed || connection->is_open(), "it neither opens nor fails");
    }
    if (failed) connection.emplace(endpoint, options());
    must(connection->open_channel().is_open(), "it does not work");
  }
  warren::Connection connection(endpoint, options());
  Worker worker;
  worker.start(connection, queues.name, true);
  must(!worker.failed, "the consumer does not start");
  warren::Publisher publisher(connection, {.routing_key = queues.name, .timeout = 500ms});
  Ids confirmed;
  const auto publish = [&](int id) {
    const warren::Message message(std::to_string(id));
    if (!attempt([&] { publisher.publish(message); })) confirmed.add(id);
  };
  publish(1);
  {
    const SpareDescriptors few(spare);
    cut();
    must(eventually([&] { return connection.state() != warren::ConnectionState::open; }), "it is not lost");
    for (int id = 2; id <= 4; ++id) publish(id);
    publish(10);  // its handler fails, and its copy needs a connection of its own
    must(connection.state() != warren::ConnectionState::failed, "it has failed");
  }
  must(eventually([&] { return connection.is_open(); }), "it does not recover");
  publish(5);
  publish(20);
  return finish(connection, worker, queues, confirmed, true);
}

// The process may have no more memory than it has, for a while: large messages find none.
int address_space(const Words&) {
  const Queues queues;
  warren::Connection connection(broker(), options());
  Worker worker;
  worker.start(connection, queues.name, false);
  warren::Publisher publisher(connection, {.routing_key = queues.name, .timeout = 5s});
  Ids confirmed;
  const auto publish = [&](int id, std::size_t size) {
    std::optional<std::string> failed = attempt([&] {
      const warren::Message message(std::to_string(id) + std::string(size, ' '));
      publisher.publish(message);
    });
    if (!failed) confirmed.add(id);
    return failed;
  };
  must(!publish(1, 10), "the first message is not confirmed");
  rlimit before{};
  ::getrlimit(RLIMIT_AS, &before);
  std::size_t failures = 0;
  for (const std::size_t spare : {std::size_t{0}, std::size_t{1} << 20, std::size_t{8} << 20}) {
    long pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "re");
    must(file != nullptr && std::fscanf(file, "%ld", &pages) == 1, "the size of the process is unknown");
    std::fclose(file);
    const rlimit low{static_cast<rlim_t>(pages) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + spare,
                     before.rlim_max};
    must(::setrlimit(RLIMIT_AS, &low) == 0, "the address space can't be limited");
    for (int id = 2; id <= 6; ++id) {
      if (publish(id + static_cast<int>(spare), 4 << 20)) ++failures;
      if (id == 4) cut();
    }
    must(connection.state() != warren::ConnectionState::failed, "it has failed");
    ::setrlimit(RLIMIT_AS, &before);
    must(eventually([&] { return connection.is_open(); }), "it does not recover");
  }
  must(failures > 0, "there was memory for everything");
  must(!publish(100, 10), "it does not work afterwards");
  return finish(connection, worker, queues, confirmed, false);
}

// The system's clock jumps: libfaketime reads the file that FAKETIME_TIMESTAMP_FILE names.
int clock_jumps(const Words& words) {
  const Queues queues;
  const auto jump_to = [&](const char* offset) {
    const std::chrono::system_clock::time_point from = std::chrono::system_clock::now();
    std::FILE* const file = std::fopen(words.at(0).c_str(), "we");
    std::fprintf(file, "%s\n", offset);
    std::fclose(file);
    must(eventually([&] {
           const auto gone = std::chrono::system_clock::now() - from;
           return gone > 20h || gone < -20h;
         }),
         "the clock does not jump");
  };
  warren::ConnectionOptions wanted = options();
  wanted.heartbeat = 2s;
  std::atomic<int> losses{0};
  wanted.on_state = [&](const warren::StateEvent& event) {
    if (event.state == warren::ConnectionState::waiting) ++losses;
  };
  warren::Connection connection(broker(), wanted);
  warren::Publisher publisher(connection, {.routing_key = queues.name, .timeout = 10s});
  std::mutex mutex;
  std::map<int, std::vector<Clock::time_point>> runs;
  warren::Consumer consumer(connection, queues.name,
                            {.retry = warren::RetryPolicy::fixed(500ms, {.max_attempts = 2})});
  consumer.start([&](const warren::Delivery& delivery) {
    const std::lock_guard lock(mutex);
    runs[id_of(delivery)].push_back(Clock::now());
    if (runs[id_of(delivery)].size() == 1) throw std::runtime_error("try again");
  });
  const auto ran = [&](int id, std::size_t times) {
    return eventually([&] {
      const std::lock_guard lock(mutex);
      return runs[id].size() == times;
    });
  };
  int id = 0;
  for (const char* offset : {"+1d", "-1d", "+0d"}) {
    ++id;
    publisher.publish(warren::Message(std::to_string(id)));
    must(ran(id, 1), "a message is not handled");
    jump_to(offset);  // while it is delayed
    must(ran(id, 2), std::string("behind a jump a delayed message does not return: ") + offset);
    {
      const std::lock_guard lock(mutex);
      const auto delay = runs[id][1] - runs[id][0];
      must(delay >= 250ms, "it came before its delay");
    }
    const auto before = Clock::now();
    publisher.publish(warren::Message(std::to_string(100 + id)));
    must(ran(100 + id, 2), "a message is not handled behind a jump");
    // The clocks that deadlines and heartbeats go by don't jump.
    must(Clock::now() - before < 20h, "the steady clock jumps");
    std::this_thread::sleep_for(3s);  // for a heartbeat that would be missed
  }
  must(losses == 0, "a jump of the clock cost the connection");
  must(connection.is_open() && consumer.status().parked == 0, "a jump of the clock cost a message");
  // A wait that goes by the wrong clock ends at once, or never.
  try {
    publisher.flush(1s);
    (void)connection.open_channel().declare_queue_passive(queues.name + "-none");
    throw Wrong{"there is no such queue"};
  } catch (const warren::ChannelError&) {
  }
  consumer.stop();
  return 0;
}

// Publishes and consumes until its standard input ends, and is stopped and continued meanwhile.
int suspended(const Words&) {
  const Queues queues;
  warren::ConnectionOptions wanted = options();
  wanted.heartbeat = 1s;
  wanted.name = queues.name;
  warren::Connection connection(broker(), wanted);
  Worker worker;
  worker.start(connection, queues.name, true);
  warren::Publisher publisher(connection, {.routing_key = queues.name, .timeout = 20s});
  Ids confirmed;
  std::atomic<bool> more{true};
  std::thread input([&] {
    while (std::getchar() != EOF) continue;
    more = false;
  });
  int id = 1;
  std::printf("begun\n");
  std::fflush(stdout);
  for (; more; ++id) {
    const warren::Message message(std::to_string(id));
    if (!attempt([&] { publisher.publish(message); })) confirmed.add(id);
    std::this_thread::sleep_for(10ms);
  }
  input.join();
  must(confirmed.size() > 0, "nothing was confirmed");
  const std::size_t before = confirmed.size();
  publisher.publish(warren::Message(std::to_string(++id)));
  confirmed.add(id);
  std::printf("%zu confirmed\n", before);
  return finish(connection, worker, queues, confirmed, true);
}

// None is made that a child forked beside would inherit.
int inherited(const Words&) {
  warren::Endpoint endpoint = broker();
  endpoint.host = "localhost";
  warren::Connection connection(endpoint, options());
  cut();
  must(eventually([&] { return connection.state() != warren::ConnectionState::open; }), "it is not lost");
  must(eventually([&] { return connection.is_open(); }), "it does not recover");
  must(starvation::inheritable_descriptors() == 0, std::to_string(starvation::inheritable_descriptors()) +
                                                       " descriptors were not closed on exec at first");
  return 0;
}

}  // namespace starved
