// What process_test.cpp looks at from outside. The environment says what to do: WARREN_CHILD is the mode,
// AMQP_URL the broker, WARREN_CHILD_QUEUE an empty queue. Each mode ends with 0 if all was as it must be.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <warren/warren.hpp>

#include "support/sanitizer.hpp"

using namespace std::chrono_literals;

namespace {

// A forked child leaves what its parent has as it is, which a leak checker takes for leaks.
bool is_forked = false;

}  // namespace

extern "C" int __lsan_is_turned_off() { return is_forked ? 1 : 0; }

namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}
bool mode_is(std::string_view mode) { return variable("WARREN_CHILD") == mode; }

// Made before main(), perhaps before what the library has at namespace scope; destroyed after it, and after
// the main thread's thread_locals.
struct Early {
  Early() {
    if (!mode_is("statics")) return;
    connection.emplace(variable("AMQP_URL"));
    publisher.emplace(*connection,
                      warren::PublisherOptions{.routing_key = std::string(variable("WARREN_CHILD_QUEUE"))});
    publisher->publish(warren::Message("before main"));
  }
  ~Early() {
    if (!publisher) return;
    try {
      publisher->publish(warren::Message(std::string(300, 'x')));
      publisher->publish_async(warren::Message(std::string(100'000, 'y')), {.timeout = 20s}).wait();
      // The broker's refusal and its own close have texts of the library's.
      warren::Channel channel = connection->open_channel();
      channel.close();
      try {
        channel.declare_queue("");
        std::abort();
      } catch (const warren::ChannelError& error) {
        if (error.text() != "the channel is closed") std::abort();
      }
      publisher->publish(warren::Message("after main"), {.timeout = 20s});
      connection->close();
      try {
        publisher->publish(warren::Message("too late"), {.timeout = 20s});
        std::abort();
      } catch (const warren::ConnectionError& error) {
        if (error.text() != "the connection is closed") std::abort();
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in a static object's destructor: %s\n", error.what());
      std::_Exit(3);
    }
  }
  std::optional<warren::Connection> connection;
  std::optional<warren::Publisher> publisher;
};
Early early;

int statics() {
  early.publisher->publish(warren::Message("in main"));
  return 0;
}

// A crash in a handler, with a crash reporter that the program installed.
int crash() {
  struct sigaction action {};
  action.sa_handler = [](int) { ::_exit(0); };
  ::sigaction(SIGSEGV, &action, nullptr);
  warren::Connection connection{variable("AMQP_URL")};
  const std::string queue(variable("WARREN_CHILD_QUEUE"));
  warren::Publisher(connection, {.routing_key = queue}).publish(warren::Message("x"));
  // A page that nobody may write to, rather than a null pointer: a sanitizer would end the program before.
  void* const page = ::mmap(nullptr, 4'096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  warren::Consumer{connection, queue}.run(
      [page](const warren::Delivery&) { *static_cast<volatile int*>(page) = 1; });
  return 1;
}

template <typename Call>
bool is_refused(const char* what, Call&& call) {
  try {
    call();
    std::printf("%s returned in the child\n", what);
  } catch (const warren::InvalidArgument& error) {
    if (error.text().find("belongs to the process that forked this one") != std::string::npos) return true;
    std::printf("%s: %s\n", what, error.what());
  } catch (const std::exception& error) {
    std::printf("%s: %s\n", what, error.what());
  }
  return false;
}

// All that the parent has when it forks, destroyed by exit().
struct Everything {
  explicit Everything(warren::StateCallback on_state)
      : connection(variable("AMQP_URL"),
                   {.on_log = [](const warren::LogEvent&) {}, .on_state = std::move(on_state)}),
        channel(connection.open_channel()),
        queue(channel.declare_queue("", {.exclusive = true})),
        exchange(channel.declare_exchange_passive("amq.direct")),
        publisher(connection, {.routing_key = queue.name()}),
        consumer(connection, std::string(variable("WARREN_CHILD_QUEUE")),
                 {.retry = warren::RetryPolicy::immediate(), .handler_timeout = 20s}),
        lot(connection, std::string(queue.name())) {
    publisher.publish(warren::Message("to be settled"));
    delivery = channel.get(queue.name()).value();
    confirmation = publisher.publish_async(warren::Message("x"));
  }
  warren::Connection connection;
  warren::Channel channel;
  warren::Queue queue;
  warren::Exchange exchange;
  warren::Publisher publisher;
  warren::Consumer consumer;
  warren::ParkingLot lot;
  warren::Delivery delivery;
  warren::Confirmation confirmation;
};

// In the child: nothing of the parent's may be used, and nothing may be closed.
bool child_is_refused(Everything& all) {
  bool refused = is_refused("open_channel", [&] { (void)all.connection.open_channel(); });
  refused &= is_refused("state", [&] { (void)all.connection.state(); });
  refused &= is_refused("declare_queue", [&] { all.channel.declare_queue(""); });
  refused &= is_refused("Channel::publish", [&] { all.channel.publish("", "x", warren::Message("x")); });
  refused &= is_refused("purge", [&] { all.queue.purge(); });
  refused &= is_refused("Exchange::bind", [&] { all.exchange.bind("amq.topic", "x"); });
  refused &= is_refused("publish", [&] { all.publisher.publish(warren::Message("x")); });
  refused &= is_refused("publish_async", [&] { (void)all.publisher.publish_async(warren::Message("x")); });
  refused &= is_refused("flush", [&] { all.publisher.flush(1s); });
  refused &= is_refused("Confirmation::wait", [&] { all.confirmation.wait(); });
  refused &= is_refused("ack", [&] { all.delivery.ack(); });
  refused &= is_refused("inspect", [&] { (void)all.lot.inspect([](const warren::ParkedMessage&) {}); });
  refused &= is_refused("wait", [&] { all.consumer.wait(); });
  refused &= is_refused("status", [&] { (void)all.consumer.status(); });
  all.consumer.stop();
  all.publisher.close();
  all.channel.close();
  all.connection.close();
  return refused && !all.channel.is_open();
}

// The child of a fork ends by exit(), which destroys what the parent has. With `consuming`, while a consumer
// runs.
int fork_exit(bool consuming) {
  // Never destroyed: the state callback refers to it.
  static std::atomic<int>& events = *new std::atomic<int>(0);
  static std::optional<Everything> all;
  all.emplace([](const warren::StateEvent&) { ++events; });
  if (consuming) all->consumer.start([](const warren::Delivery&) {});
  while (events < 2) std::this_thread::sleep_for(1ms);  // connecting, open
  std::fflush(stdout);
  // One does nothing, one tries all. The alarm ends a child that hangs.
  for (const bool tries : {false, true}) {
    const pid_t child = ::fork();
    if (child == 0) {
      is_forked = true;
      ::alarm(60);
      if (tries && !child_is_refused(*all)) std::exit(4);
      if (tries && support::can_start_threads_in_a_child) {  // a connection of the child's own works
        warren::Connection own{variable("AMQP_URL")};
        own.open_channel().declare_queue("", {.exclusive = true});
      }
      std::exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) return std::printf("a signal ended the child: %d\n", WTERMSIG(status)), 1;
    if (WEXITSTATUS(status) != 0) return std::printf("the child ended with %d\n", WEXITSTATUS(status)), 1;
  }
  // The parent's connection is as before: what it had goes on, and the broker has answered since.
  all->delivery.ack();
  all->confirmation.wait();
  all->publisher.publish(warren::Message("x"));
  all->channel.declare_queue_passive(all->queue.name());
  if (consuming) all->consumer.stop();
  if (events != 2) return std::printf("%d state events\n", events.load()), 1;
  return 0;
}

#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) {                                           \
      std::printf("line %d: not so: %s\n", __LINE__, #condition); \
      return 1;                                                   \
    }                                                             \
  } while (false)

template <typename Condition>
bool eventually(Condition&& holds) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

template <typename E, typename Call>
bool throws(Call&& call) {
  try {
    call();
  } catch (const E&) {
    return true;
  }
  return false;
}

std::atomic<int> handled_before{0};

// The end of a child that does `body`: its exit code, or the negative number of a signal.
template <typename Body>
int forked(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    is_forked = true;
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// In a process without other threads, so that the sanitizers let it fork.
int repeated_signal() {
  warren::StopOnSignal stop{SIGTERM};
  ::raise(SIGTERM);
  ::raise(SIGTERM);  // one that comes twice at once is one
  if (!eventually([&] { return stop.token().stop_requested(); })) return 1;
  for (;;) {  // a program that hangs
    ::raise(SIGTERM);
    std::this_thread::sleep_for(10ms);
  }
}

int stop_on_signal() {
  EXPECT(forked(repeated_signal) == -SIGTERM);

  // Threads that are there already, and block all signals, as this one does from now on.
  std::atomic<bool> ended{false};
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::jthread other([&] { ended.wait(false); });
  {
    warren::StopOnSignal stop{SIGTERM, SIGINT};
    EXPECT(throws<warren::LogicError>([] { warren::StopOnSignal{SIGINT}; }));
    EXPECT(throws<warren::LogicError>([] { warren::StopOnSignal{SIGUSR1, SIGUSR1}; }));
    EXPECT(throws<warren::InvalidArgument>([] { warren::StopOnSignal(std::initializer_list<int>{}); }));
    for (const int each : {SIGKILL, SIGSTOP, SIGSEGV, 0, -1, 1'000})
      EXPECT(throws<warren::InvalidArgument>([&] { warren::StopOnSignal{SIGUSR1, each}; }));
    EXPECT(!stop.token().stop_requested());
    ::kill(::getpid(), SIGINT);
    EXPECT(eventually([&] { return stop.token().stop_requested(); }));
  }
  ::pthread_sigmask(SIG_UNBLOCK, &all, nullptr);
  ended = true;
  ended.notify_all();
  other.join();

  // What the program had installed is there again afterwards, and in a child.
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled_before; };
  ::sigaction(SIGTERM, &action, nullptr);
  std::stop_token token;
  {
    warren::StopOnSignal stop{SIGTERM};
    token = stop.token();
    EXPECT(forked([&] {
             ::raise(SIGTERM);  // the thread sanitizer lets a handler that another one raises run later
             return eventually([] { return handled_before == 1; }) && !token.stop_requested() ? 7 : 1;
           }) == 7);
    EXPECT(!token.stop_requested());
    EXPECT(handled_before == 0);
    std::atomic<bool> called{false};
    const std::stop_callback callback(token, [&] { called = true; });
    ::raise(SIGTERM);
    EXPECT(eventually([&] { return called.load(); }));
    EXPECT(handled_before == 0);
  }
  ::raise(SIGTERM);
  EXPECT(handled_before == 1);

  std::optional<warren::StopOnSignal> ends_itself(std::in_place, std::initializer_list<int>{SIGTERM});
  std::atomic<bool> gone{false};
  const std::stop_callback callback(ends_itself->token(), [&] {
    ends_itself.reset();
    gone = true;
  });
  ::raise(SIGTERM);
  EXPECT(eventually([&] { return gone.load(); }));
  warren::StopOnSignal again{SIGTERM};
  again.request_stop();
  EXPECT(again.token().stop_requested());
  return 0;
}

// What is on standard error since the last call.
std::string standard_error() {
  static off_t at = 0;
  std::string text(64'000, '\0');
  const ssize_t count = ::pread(STDERR_FILENO, text.data(), text.size(), at);
  text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  at += static_cast<off_t>(text.size());
  return text;
}

// Tries to connect where nobody is until `enough`.
template <typename Enough>
bool fail_until(warren::ConnectionOptions options, Enough&& enough) {
  std::stop_source stop;
  options.first_connect = {.within = 60s, .stop = stop.get_token()};
  options.recovery.initial_delay = options.recovery.early_max_delay = 10ms;
  std::jthread connecting([&] {
    throws<warren::ConnectionError>([&] { warren::Connection{"amqp://127.0.0.1:1/", options}; });
  });
  const bool reached = eventually(enough);
  stop.request_stop();
  return reached;
}

int default_log() {
  std::FILE* const file = std::tmpfile();
  ::dup2(::fileno(file), STDERR_FILENO);
  std::string told;
  EXPECT(fail_until({}, [&] { return (told += standard_error()).find('\n') != std::string::npos; }));
  EXPECT(told.rfind("warren: warning: connect", 0) == 0);
  told += standard_error();
  EXPECT(told.find("info") == std::string::npos);
  EXPECT(told.back() == '\n');
  for (std::size_t at = 0; at < told.size(); at = told.find('\n', at) + 1)
    EXPECT(told.compare(at, 17, "warren: warning: ") == 0);

  std::atomic<int> lines{0};
  warren::ConnectionOptions listening;
  listening.on_log = [&](const warren::LogEvent&) { ++lines; };
  EXPECT(fail_until(listening, [&] { return lines >= 2; }));
  std::atomic<int> states{0};
  warren::ConnectionOptions silent;
  silent.log_level = warren::LogLevel::none;
  silent.on_state = [&](const warren::StateEvent&) { ++states; };
  EXPECT(fail_until(silent, [&] { return states >= 1; }));
  listening.log_level = warren::LogLevel::none;
  const int before = lines;
  throws<warren::ConnectionError>([&] { warren::Connection{"amqp://127.0.0.1:1/", listening}; });
  throws<warren::ConnectionError>([&] { warren::Connection{"amqp://127.0.0.1:1/", silent}; });
  EXPECT(lines == before);
  EXPECT(standard_error().empty());
  return 0;
}

}  // namespace

int main() {
  try {
    if (mode_is("statics")) return statics();
    if (mode_is("crash")) return crash();
    if (mode_is("stop_on_signal")) return stop_on_signal();
    if (mode_is("default_log")) return default_log();
    if (mode_is("fork")) return fork_exit(false);
    if (mode_is("fork_consuming")) return fork_exit(true);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
  return 2;
}
