#include "engine/topology.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "support/catch.hpp"

using warren::FieldTable;
using warren::engine::BindingRecord;
using warren::engine::ExchangeRecord;
using warren::engine::QueueRecord;
using warren::engine::Topology;

namespace {

ExchangeRecord exchange(std::string name, bool auto_delete = false) {
  return {.name = std::move(name), .type = "direct", .flags = {.auto_delete = auto_delete}};
}
QueueRecord queue(std::string name, bool auto_delete = false) {
  return {.name = std::move(name), .flags = {.auto_delete = auto_delete}};
}
QueueRecord server_named(std::string name) { return {.name = std::move(name), .server_named = true}; }
BindingRecord binding(std::string to_queue, std::string source, std::string key = "key",
                      FieldTable arguments = {}) {
  return {true, std::move(to_queue), std::move(source), std::move(key), std::move(arguments)};
}
BindingRecord exchange_binding(std::string to, std::string source) {
  return {false, std::move(to), std::move(source), "key", {}};
}

using Names = std::vector<std::string>;

template <typename Record>
Names names(const std::vector<Record>& records) {
  Names names;
  for (const Record& record : records) names.push_back(record.name);
  return names;
}

}  // namespace

TEST_CASE("what was declared is kept in its order; the same again takes the place of the first") {
  Topology topology;
  topology.declared(queue("b"));
  topology.declared(queue("a"));
  topology.declared(exchange("x"));
  topology.declared(queue("b", true));
  const Topology::Snapshot known = topology.snapshot();
  CHECK(names(known.queues) == Names{"b", "a"});
  CHECK(known.queues[0].flags.auto_delete);
  CHECK(names(known.exchanges) == Names{"x"});
}

TEST_CASE("bindings that differ in key or arguments are two, the same one is one") {
  Topology topology;
  for (int i = 0; i < 2; ++i) {
    topology.bound(binding("q", "x", "one"));
    topology.bound(binding("q", "x", "two"));
    topology.bound(binding("q", "x", "two", {{"x-match", "all"}}));
    topology.bound(exchange_binding("q", "x"));  // an exchange of that name
  }
  CHECK(topology.snapshot().bindings.size() == 4);
  topology.unbound(binding("q", "x", "two"));
  const auto left = topology.snapshot().bindings;
  REQUIRE(left.size() == 3);
  CHECK(left[0] == binding("q", "x", "one"));
  CHECK(left[1] == binding("q", "x", "two", {{"x-match", "all"}}));
  CHECK(left[2] == exchange_binding("q", "x"));
  topology.unbound(binding("q", "x", "never bound"));
  CHECK(topology.snapshot().bindings == left);
}

TEST_CASE("a queue that is gone takes its bindings along, an exchange those on both sides") {
  Topology topology;
  for (const char* name : {"q", "other"}) topology.declared(queue(name));
  for (const char* name : {"x", "y"}) topology.declared(exchange(name));
  topology.bound(binding("q", "x"));
  topology.bound(binding("other", "x"));
  topology.bound(exchange_binding("x", "y"));
  topology.bound(exchange_binding("y", "x"));
  SECTION("the queue") {
    topology.queue_gone("q");
    CHECK(names(topology.snapshot().queues) == Names{"other"});
    CHECK(topology.snapshot().bindings ==
          std::vector{binding("other", "x"), exchange_binding("x", "y"), exchange_binding("y", "x")});
  }
  SECTION("the exchange") {
    topology.exchange_gone("x");
    CHECK(names(topology.snapshot().exchanges) == Names{"y"});
    CHECK(names(topology.snapshot().queues) == Names{"q", "other"});
    CHECK(topology.snapshot().bindings.empty());
  }
  SECTION("what nobody knows") {
    topology.queue_gone("unknown");
    topology.exchange_gone("unknown");
    CHECK(topology.snapshot().bindings.size() == 4);
  }
}

TEST_CASE("an auto-delete exchange goes with the last binding from it") {
  Topology topology;
  topology.declared(exchange("auto", true));
  topology.declared(exchange("stays"));
  topology.declared(queue("q"));
  topology.declared(queue("r"));
  topology.bound(binding("q", "auto"));
  topology.bound(binding("r", "auto"));
  topology.bound(binding("q", "stays"));
  SECTION("unbound") {
    topology.unbound(binding("q", "auto"));
    CHECK(names(topology.snapshot().exchanges) == Names{"auto", "stays"});
    topology.unbound(binding("r", "auto"));
    CHECK(names(topology.snapshot().exchanges) == Names{"stays"});
  }
  SECTION("its queues deleted") {
    topology.queue_gone("q");
    CHECK(names(topology.snapshot().exchanges) == Names{"auto", "stays"});
    topology.queue_gone("r");
    CHECK(names(topology.snapshot().exchanges) == Names{"stays"});
  }
  SECTION("the exchange that it was bound to deleted") {
    topology.queue_gone("q");
    topology.queue_gone("r");
    topology.declared(exchange("target"));
    topology.declared(exchange("auto", true));
    topology.bound(exchange_binding("target", "auto"));
    topology.exchange_gone("target");
    CHECK(names(topology.snapshot().exchanges) == Names{"stays"});
  }
  SECTION("never bound: RabbitMQ keeps it") {
    topology.declared(exchange("fresh", true));
    topology.queue_gone("q");
    CHECK(names(topology.snapshot().exchanges) == Names{"auto", "stays", "fresh"});
  }
}

TEST_CASE("one auto-delete exchange may go with another") {
  Topology topology;
  topology.declared(exchange("first", true));
  topology.declared(exchange("second", true));
  topology.declared(queue("q"));
  topology.bound(exchange_binding("second", "first"));
  topology.bound(binding("q", "second"));
  topology.unbound(binding("q", "second"));  // the broker deletes second, with its binding, and so first
  CHECK(names(topology.snapshot().exchanges).empty());
  CHECK(topology.snapshot().bindings.empty());
}

TEST_CASE("an auto-delete queue goes with its last consumer") {
  Topology topology;
  topology.declared(queue("auto", true));
  topology.declared(queue("stays"));
  topology.bound(binding("auto", "amq.direct"));
  for (const char* name : {"auto", "auto", "stays"}) topology.consumer_added(name);
  topology.consumer_removed("auto");
  topology.consumer_removed("stays");
  CHECK(names(topology.snapshot().queues) == Names{"auto", "stays"});
  topology.consumer_removed("auto");
  CHECK(names(topology.snapshot().queues) == Names{"stays"});
  CHECK(topology.snapshot().bindings.empty());
  topology.consumer_removed("auto");  // once more does nothing
  topology.declared(queue("auto", true));
  topology.consumer_added("auto");
  CHECK(names(topology.snapshot().queues) == Names{"stays", "auto"});
}

TEST_CASE("a server-named queue's new name is followed from all old ones") {
  Topology topology;
  topology.declared(server_named("gen-1"));
  topology.bound(binding("gen-1", "x"));
  topology.consumer_added("gen-1");
  topology.renamed("gen-1", "gen-2");
  topology.renamed("gen-2", "gen-3");
  for (const char* name : {"gen-1", "gen-2", "gen-3"}) CHECK(topology.current_name(name) == "gen-3");
  CHECK(topology.current_name("other") == "other");
  CHECK(names(topology.snapshot().queues) == Names{"gen-3"});
  CHECK(topology.snapshot().bindings == std::vector{binding("gen-3", "x")});
  // What is said of an old name is meant for the queue.
  topology.bound(binding("gen-1", "y"));
  topology.unbound(binding("gen-2", "x"));
  CHECK(topology.snapshot().bindings == std::vector{binding("gen-3", "y")});
  topology.queue_gone("gen-1");
  CHECK(topology.snapshot().queues.empty());
  CHECK(topology.snapshot().bindings.empty());
}

TEST_CASE("a server-named auto-delete queue goes with its last consumer under its old name, too") {
  Topology topology;
  topology.declared({.name = "gen-1", .server_named = true, .flags = {.auto_delete = true}});
  topology.consumer_added("gen-1");
  topology.renamed("gen-1", "gen-2");
  topology.consumer_removed("gen-1");
  CHECK(topology.snapshot().queues.empty());
}

TEST_CASE("a queue that is declared under a name that another one had is its own") {
  Topology topology;
  topology.declared(server_named("gen-1"));
  topology.renamed("gen-1", "gen-2");
  topology.declared(queue("gen-1"));
  CHECK(topology.current_name("gen-1") == "gen-1");
  topology.queue_gone("gen-1");
  CHECK(names(topology.snapshot().queues) == Names{"gen-2"});
}

namespace {

using namespace std::chrono_literals;

QueueRecord expiring(std::string name, std::int64_t milliseconds) {
  return {.name = std::move(name), .arguments = {{"x-expires", milliseconds}}};
}

}  // namespace

TEST_CASE("a queue that this connection has not used for longer than its x-expires is forgotten") {
  Topology topology;
  topology.declared(queue("stays"));
  topology.declared(expiring("short", 1'000));
  topology.declared(expiring("long", 3'600'000));
  topology.declared(expiring("consumed", 1'000));
  topology.declared(expiring("endless", std::numeric_limits<std::int64_t>::max()));
  topology.bound(binding("short", "amq.direct"));
  topology.bound(binding("long", "amq.direct"));
  topology.consumer_added("consumed");
  const auto now = Topology::Clock::now();
  CHECK(topology.forget_expired(now) == 0);
  CHECK(topology.forget_expired(now + 10s) == 1);
  CHECK(names(topology.snapshot().queues) == Names{"stays", "long", "consumed", "endless"});
  CHECK(topology.snapshot().bindings == std::vector{binding("long", "amq.direct")});
  // Its time begins when its last consumer goes.
  topology.consumer_removed("consumed");
  CHECK(topology.forget_expired(now) == 0);
  CHECK(topology.forget_expired(now + 10s) == 1);
  // A use renews it: a declaration, or what used() tells of.
  CHECK(topology.forget_expired(now + 7'200s) == 1);
  CHECK(names(topology.snapshot().queues) == Names{"stays", "endless"});
}

TEST_CASE("a use, or a new name, keeps a queue with x-expires") {
  Topology topology;
  topology.declared({.name = "gen-1", .server_named = true, .arguments = {{"x-expires", 1'000}}});
  topology.declared(expiring("used", 1'000));
  topology.declared(expiring("unused", 1'000));
  std::this_thread::sleep_for(20ms);  // time is what this is about
  const auto between = Topology::Clock::now();
  topology.renamed("gen-1", "gen-2");
  topology.used("gen-1");
  topology.used("used");
  topology.used("unknown");
  CHECK(topology.forget_expired(between + 1'000ms) == 1);
  CHECK(names(topology.snapshot().queues) == Names{"gen-2", "used"});
  CHECK(topology.forget_expired(between + 60s) == 2);
}

TEST_CASE("a program that declares a queue with x-expires for each request does not fill the record") {
  Topology topology;
  std::size_t most = 0;
  for (int i = 0; i < 2'000; ++i) {
    topology.declared(expiring(std::to_string(i), 0));
    if (i % 64 == 0) std::this_thread::sleep_for(1ms);
    most = std::max(most, topology.snapshot().queues.size());
  }
  CHECK(most < 1'000);
}

TEST_CASE("a queue is pending until it is declared, gone, or said not to be") {
  Topology topology;
  for (const char* name : {"a", "b", "c", "d"}) {
    topology.declared(queue(name));
    topology.set_pending(name);
  }
  CHECK(topology.has_pending());
  CHECK(names(topology.pending()) == Names{"a", "b", "c", "d"});
  topology.declared(queue("a"));
  topology.queue_gone("b");
  topology.clear_pending("c");
  CHECK_FALSE(topology.is_pending("a"));
  CHECK_FALSE(topology.is_pending("b"));
  CHECK_FALSE(topology.is_pending("c"));
  CHECK(topology.is_pending("d"));
  CHECK(names(topology.pending()) == Names{"d"});
  topology.clear_pending();
  CHECK_FALSE(topology.has_pending());
}
