// warren_bench SCENARIO --client warren|rabbitmq-c [--url U | --null] ...: one run, one line of JSON.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bench.hpp"
#include "null_broker.hpp"

namespace {

using bench::Run;
using bench::Scenario;

struct Words {
  std::string scenario;
  std::string client = "warren";
  std::string url;
  bool null_broker = false;
};

const std::map<std::string, Scenario> scenarios{{"publish-confirmed", Scenario::publish_confirmed},
                                                {"publish-unconfirmed", Scenario::publish_unconfirmed},
                                                {"publish-tls", Scenario::publish_tls},
                                                {"publish-large", Scenario::publish_large},
                                                {"consume", Scenario::consume},
                                                {"consume-manual", Scenario::consume_manual},
                                                {"round-trip", Scenario::round_trip}};

std::uint64_t usual_messages(Scenario scenario) {
  switch (scenario) {
    case Scenario::publish_large:
      return 2'000;
    case Scenario::round_trip:
      return 10'000;
    default:
      return 100'000;
  }
}

void report(const Words& words, const Run& run, const bench::Meter& meter) {
  const auto messages = static_cast<double>(run.messages);
  nlohmann::ordered_json line{
      {"scenario", words.scenario},
      {"client", words.client},
      {"broker", run.null_broker ? "null" : "real"},
      {"messages", run.messages},
      {"size", run.size},
      {"window", run.window},
      {"threads", run.threads},
      {"seconds", meter.seconds()},
      {"rate", messages / meter.seconds()},
      {"cpu_us_per_message", meter.cpu_microseconds() / messages},
      {"max_rss_kib", meter.max_rss_kib()},
      {"p50_us", nullptr},
      {"p99_us", nullptr},
      {"allocations_per_message", static_cast<double>(meter.allocations()) / messages}};
  if (meter.has_latencies()) {
    line["p50_us"] = meter.percentile(50);
    line["p99_us"] = meter.percentile(99);
  }
  std::puts(line.dump().c_str());
}

void measure(const Words& words, Run& run, const char* program) {
  run.null_broker = words.null_broker;
  const bool one_by_one = run.publishes_confirmed() && run.window == 1 && run.threads == 1;
  const bool has_latencies = run.scenario == Scenario::round_trip || one_by_one;
  // Caches, buffers and the window itself are full before anything counts.
  run.warm_up = std::max<std::uint64_t>(
      std::min<std::uint64_t>(run.messages / 10, std::max<std::size_t>(4 * run.window, 1'000)), 1);
  run.queue = "warren-bench-" + std::to_string(::getpid());

  std::optional<bench::NullProcess> null_broker;
  if (run.null_broker) {
    null_broker.emplace(
        program, bench::NullBrokerOptions{.size = run.size, .echo = run.scenario == Scenario::round_trip});
    run.endpoint.host = "127.0.0.1";
    run.endpoint.port = null_broker->port();
  } else {
    run.endpoint = warren::Uri::parse(words.url).endpoint;
  }
  if (run.scenario == Scenario::publish_tls && !run.endpoint.tls)
    throw std::runtime_error("publish-tls needs an amqps URL");

  bench::Meter meter(has_latencies ? run.messages : 0);
  if (words.client == "warren") {
    bench::run_warren(run, meter);
  } else {
    bench::run_rabbitmq_c(run, meter);
  }
  report(words, run, meter);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures one scenario with one client, and prints a line of JSON."};
  Words words;
  Run run;
  bool echo = false;
  std::vector<std::string> names{"null-broker"};
  for (const auto& [name, scenario] : scenarios) names.push_back(name);
  app.add_option(
         "scenario", words.scenario,
         "publish-confirmed, publish-unconfirmed, publish-tls, publish-large, consume, consume-manual or "
         "round-trip; null-broker serves one, prints its port, and ends with its input")
      ->required()
      ->check(CLI::IsMember(names));
  app.add_option("--client", words.client, "warren or rabbitmq-c")
      ->check(CLI::IsMember({"warren", "rabbitmq-c"}))
      ->capture_default_str();
  auto* url = app.add_option("--url", words.url, "the broker's AMQP URI; else AMQP_URL's")
                  ->envname("AMQP_URL")
                  ->default_val("amqp://guest:guest@localhost/");
  auto* null_broker =
      app.add_flag("--null", words.null_broker, "a broker of its own that drops and delivers without end");
  app.add_option("--messages", run.messages, "how many are measured");
  app.add_option("--size", run.size, "of a body, in bytes")->capture_default_str();
  app.add_option("--window", run.window, "unconfirmed messages in flight, or the prefetch")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  app.add_option("--threads", run.threads,
                 "warren: of one publisher or consumer; rabbitmq-c: each with a connection of its own")
      ->check(CLI::Range(1, 1'000))
      ->capture_default_str();
  int heartbeat = 0;
  app.add_option("--heartbeat", heartbeat, "in seconds; 0 turns it off")
      ->check(CLI::Range(0, 65'535))
      ->capture_default_str();
  app.add_flag("--echo", echo, "of null-broker: delivers only what is published");
  (void)url;
  (void)null_broker;
  CLI11_PARSE(app, argc, argv);

  try {
    if (words.scenario == "null-broker") {
      bench::serve_null_broker({.size = run.size, .echo = echo});
      return 0;
    }
    run.scenario = scenarios.at(words.scenario);
    if (run.scenario == Scenario::publish_large && app.count("--size") == 0) run.size = 64 * 1024;
    if (run.scenario == Scenario::publish_large && app.count("--window") == 0) run.window = 16;
    if (run.messages == 0) run.messages = usual_messages(run.scenario);
    run.heartbeat = std::chrono::seconds(heartbeat);
    measure(words, run, argv[0]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "warren_bench: %s\n", error.what());
    return 1;
  }
}
