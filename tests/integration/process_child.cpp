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

}  // namespace

int main() {
  try {
    if (mode_is("statics")) return statics();
    if (mode_is("crash")) return crash();
    if (mode_is("fork")) return fork_exit(false);
    if (mode_is("fork_consuming")) return fork_exit(true);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
  return 2;
}
