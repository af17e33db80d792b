#include <warren/warren.hpp>

#include <iostream>
#include <random>

#include "faults/report.hpp"
#include "faults/watch.hpp"
#include "faults/workload.hpp"
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/process.hpp"

using namespace support;
using namespace faults;

TEST_CASE("nothing that was confirmed is lost while the nodes of a cluster are killed in turn",
          "[faults][cluster]") {
  const std::uint64_t seed = number_from_environment("WARREN_LEDGER_SEED", std::random_device{}());
  std::cout << "WARREN_LEDGER_SEED=" << seed << std::endl;
  Cluster cluster;
  REQUIRE(cluster.is_whole());
  const Resources before = resources();
  {
    Ledger ledger;
    std::mt19937_64 random(seed);
    std::map<std::string, std::size_t> faults;
    Workload work(ledger, cluster.endpoints(), warren::QueueType::quorum, seed);
    const std::size_t turns = number_from_environment("WARREN_CLUSTER_TURNS", Cluster::size);
    for (std::size_t turn = 0; turn < turns; ++turn) {
      REQUIRE(cluster.is_whole());
      std::this_thread::sleep_for(std::chrono::milliseconds(500 + random() % 2'000));
      PrivateBroker& node = cluster.node(turn % Cluster::size);
      work.note("killing node " + std::to_string(turn % Cluster::size));
      node.kill();
      ++faults["node killed with -9"];
      // The other two carry on without it.
      CHECK(eventually([&] { return work.is_well(); }, 30s));
      work.note("restarting it");
      node.restart();
      // Not before: on RabbitMQ 3.10 a quorum queue may be without a leader until the node is back.
      const std::size_t handled = ledger.totals().handled;
      CHECK(eventually([&] { return ledger.totals().handled > handled + 100; }, 60s));
    }
    finish(work, ledger, faults);
  }
  check_no_leaks(before);
}

TEST_CASE("a consumer of a classic queue on a dead node waits for that node", "[faults][cluster]") {
  Cluster cluster;
  REQUIRE(cluster.is_whole());
  Watch watch;
  // The queue lives on the first node, the consumer's connection goes to the second.
  warren::Connection connection{{cluster.node(1).endpoint(), cluster.node(2).endpoint()}, watch.options()};
  {
    warren::Connection declaring{cluster.node(0).endpoint(), recovering_options()};
    warren::Channel channel = declaring.open_channel();
    channel.declare_queue("classic");
    warren::Publisher(declaring, {.routing_key = "classic"}).publish(warren::Message("kept"));
  }
  Bodies bodies;
  warren::Consumer consumer{connection, "classic"};
  consumer.start([&](const warren::Delivery& delivery) { bodies.add(delivery.body()); });
  REQUIRE(eventually([&] { return bodies.size() == 1; }));
  SECTION("its node goes: the broker cancels the subscription") {
    cluster.node(0).kill();
    REQUIRE(eventually([&] { return !consumer.status().subscribed; }));
  }
  SECTION("and the connection, too") {
    cluster.node(0).kill();
    cluster.node(1).kill();
    cluster.node(1).restart();
  }
  INFO(watch.log());
  CHECK_FALSE(consumer.wait_for(3s));  // it does not give up
  CHECK_FALSE(consumer.status().subscribed);
  cluster.node(0).restart();
  REQUIRE(eventually([&] { return consumer.status().subscribed; }, 60s));
  warren::Publisher(connection, {.routing_key = "classic"}).publish(warren::Message("after"));
  CHECK(eventually([&] { return bodies.count("after") == 1; }));
}
