// What starved_test.cpp looks at from outside: a client that lacks memory, threads or descriptors, or whose
// clock jumps. AMQP_URL names the broker. It ends with 0 if all was as it must be, with 3 if what was to fail
// was never asked for; else it prints what is wrong.
//
//   warren_starved memory SCENARIO THREAD NTH    SCENARIO: loss, storm, load
//   warren_starved threads loss|work|start|opening
//   warren_starved descriptors SPARE
//   warren_starved address_space
//   warren_starved clock FILE                    with libfaketime, which reads FILE
//   warren_starved suspended                     until its standard input ends
//   warren_starved inherited

#include "faults/starved.hpp"

#include <map>

namespace starved {
namespace {

// The link is lost twice under a publisher and a consumer.
int loss(const char* thread, long nth) {
  const Queues queues;
  warren::Endpoint endpoint = broker();
  endpoint.host = "localhost";  // to be resolved
  warren::Connection connection(endpoint, options());
  warren::Channel channel = connection.open_channel();
  channel.declare_queue(queues.name + "-own", {.durable = false, .exclusive = true});
  Worker worker;
  worker.start(connection, queues.name, false);
  warren::Publisher publisher(connection, {.routing_key = queues.name, .timeout = 5s});
  Ids confirmed;
  starvation::starve_of_memory(thread, nth);
  for (int id = 1; id <= 8; ++id) {
    if (id == 2 || id == 6) cut();
    const warren::Message message(std::to_string(id));
    if (!attempt([&] { publisher.publish(message); })) confirmed.add(id);
    if (id == 4) (void)attempt([&] { channel.declare_queue_passive(queues.name); });
  }
  return finish(connection, worker, queues, confirmed, false);
}

// Many publishes are in flight.
int storm(const char* thread, long nth) {
  const Queues queues;
  warren::Connection connection(broker(), options());
  Worker worker;
  Ids confirmed;
  starvation::starve_of_memory(thread, nth);
  std::optional<warren::Publisher> publisher;
  if (attempt([&] {
        publisher.emplace(connection,
                          warren::PublisherOptions{.routing_key = queues.name, .window = 64, .timeout = 5s});
      })) {
    publisher.emplace(connection, warren::PublisherOptions{.routing_key = queues.name, .timeout = 5s});
  }
  std::map<int, warren::Confirmation> confirmations;
  for (int id = 1; id <= 200; ++id) {
    if (id == 100) cut();
    const warren::Message message(std::to_string(id) + std::string(id % 20 == 0 ? 80'000 : 20, ' '));
    warren::Confirmation confirmation;
    if (!attempt([&] { confirmation = publisher->publish_async(message); }))
      confirmations.emplace(id, std::move(confirmation));
  }
  (void)attempt([&] { publisher->flush(5s); });
  for (auto& [id, confirmation] : confirmations) {
    if (!attempt([&] { confirmation.wait(); })) confirmed.add(id);
  }
  {
    const starvation::Call starved;
    publisher.reset();
  }
  must(confirmed.size() > 90, "only so many are confirmed: " + std::to_string(confirmed.size()));
  worker.start(connection, queues.name, false);
  return finish(connection, worker, queues, confirmed, false);
}

// A consumer of many messages, each tenth of which fails and is parked; the link is lost in the middle.
int load(const char* thread, long nth) {
  const Queues queues;
  warren::Connection connection(broker(), options());
  Ids confirmed;
  {
    warren::Publisher publisher(connection, {.routing_key = queues.name});
    for (int id = 1; id <= 150; ++id) (void)publisher.publish_async(warren::Message(std::to_string(id)));
    publisher.flush(20s);
    for (int id = 1; id <= 150; ++id) confirmed.add(id);
  }
  Worker worker;
  starvation::starve_of_memory(thread, nth);
  worker.start(connection, queues.name, true);
  (void)eventually([&] { return worker.handled.size() > 40 || worker.has_ended(); }, 5s);
  cut();
  return finish(connection, worker, queues, confirmed, true);
}

int memory(const Words& words) {
  const long nth = std::atol(words.at(2).c_str());
  const char* thread = words[1].c_str();
  if (nth == 0) {  // a drought: all of them, for a while
    std::thread([] {
      std::this_thread::sleep_for(700ms);
      starvation::end();
    }).detach();
  }
  if (words[0] == "loss") return loss(thread, nth);
  if (words[0] == "storm") return storm(thread, nth);
  if (words[0] == "load") return load(thread, nth);
  throw Wrong{"there is no such scenario"};
}

}  // namespace
}  // namespace starved

int main(int argc, char** argv) {
  using namespace starved;
  ::alarm(60);  // what hangs ends by SIGALRM
  const Words words(argv + 1, argv + argc);
  try {
    const std::map<std::string, std::function<int(const Words&)>> modes{
        {"memory", memory},      {"threads", threads},     {"descriptors", descriptors},
        {"clock", clock_jumps},  {"suspended", suspended}, {"address_space", address_space},
        {"inherited", inherited}};
    return modes.at(words.at(0))({words.begin() + 1, words.end()});
  } catch (const Wrong& wrong) {
    std::printf("%s\n", wrong.text.c_str());
  } catch (const std::exception& error) {
    std::printf("it ended: %s\n", error.what());
  }
  return 1;
}
