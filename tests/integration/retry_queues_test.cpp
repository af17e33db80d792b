#include <stdexcept>
#include <string>
#include <vector>

#include "client/connection_access.hpp"
#include "engine/queue_facts.hpp"
#include "integration/retry_bench.hpp"
#include "support/test_queue.hpp"
#include "support/thrown.hpp"

using namespace retry_tests;

// What a policy makes of the queues that it finds: streams, and quorum queues that may delete what rests in
// them.

namespace {

const std::shared_ptr<engine::ConnectionCore>& core(const Connection& connection) {
  return engine::ConnectionAccess::core(connection);
}

}  // namespace

TEST_CASE("a policy that would append copies to the stream that it reads is refused, however it is known") {
  const bool with_arguments = GENERATE(false, true);
  QueueOptions options{.type = QueueType::stream};
  if (with_arguments) {
    options.max_length_bytes = 1'000'000'000;
    options.max_age = 1h;
  }
  Bench bench(options);
  Connection other(support::shared_broker().url(), support::test_options());  // did not declare it
  for (Connection* connection : {&bench.connection, &other}) {
    const auto make = [&](ConsumerOptions consumer) {
      return Consumer(*connection, bench.queue, std::move(consumer));
    };
    const InvalidArgument error =
        support::thrown<InvalidArgument>([&] { return make({.retry = RetryPolicy::fixed(1s)}); });
    CHECK(support::contains(error.what(), "is a stream"));
    CHECK_THROWS_AS(make({.retry = RetryPolicy::to_queue(bench.queue)}), InvalidArgument);
    CHECK_THROWS_AS(make({.retry = RetryPolicy::immediate(), .crash_guard = CrashGuardOptions{}}),
                    InvalidArgument);
    CHECK_FALSE(bench.exists(RetryPolicy::wait_queue(bench.queue, 1s)));
    CHECK_NOTHROW(make({.retry = RetryPolicy::immediate()}));
    CHECK_NOTHROW(make({.retry = RetryPolicy::to_queue(bench.retry)}));
    CHECK_NOTHROW(make({}));
  }
}

TEST_CASE("x-stream-offset says that a queue is a stream") {
  Bench bench;
  CHECK_THROWS_AS(Consumer(bench.connection, bench.queue,
                           {.retry = RetryPolicy::fixed(1s), .arguments = {{"x-stream-offset", "first"}}}),
                  InvalidArgument);
}

TEST_CASE("other queues are no streams, whatever their arguments, and the question changes nothing") {
  Connection asking(support::shared_broker().url(), support::test_options());
  const std::vector<QueueOptions> kinds = {
      {},
      {.max_length_bytes = 100'000, .overflow = Overflow::reject_publish},
      {.dead_letter_exchange = ""},
      {.type = QueueType::classic},
      {.arguments = {{"x-queue-type", "classic"}}},
      {.type = QueueType::quorum},
      {.type = QueueType::quorum, .max_length_bytes = 100'000, .delivery_limit = 7}};
  for (const QueueOptions& kind : kinds) {
    Bench bench(kind);
    CHECK_FALSE(engine::is_stream(core(asking), bench.queue));
    CHECK_FALSE(engine::is_stream(core(bench.connection), bench.queue));
    CHECK_NOTHROW(bench.channel().declare_queue(bench.queue, kind));
  }
  const std::string missing = support::unique_name("missing");
  CHECK_FALSE(engine::is_stream(core(asking), missing));
  CHECK_FALSE(engine::delivery_limit(core(asking), missing).value_or(engine::DeliveryLimit{}).is_quorum);
  CHECK(support::thrown<ChannelError>([&] { asking.open_channel().declare_queue_passive(missing); }).code() ==
        404);
}

TEST_CASE("a quorum queue tells its delivery limit") {
  Connection asking(support::shared_broker().url(), support::test_options());
  const auto limit_of = [&](const QueueOptions& options) {
    const support::TestQueue queue(options);
    return engine::delivery_limit(core(asking), queue.name());
  };
  CHECK_FALSE(limit_of({})->is_quorum);
  CHECK_FALSE(limit_of({.max_length = 5, .max_priority = 2})->is_quorum);
  const auto none = limit_of({.type = QueueType::quorum});
  CHECK(none->is_quorum);
  CHECK_FALSE(none->limit);
  CHECK(limit_of({.type = QueueType::quorum, .delivery_limit = 7})->limit == 7);
  CHECK(limit_of({.type = QueueType::quorum,
                  .max_length = 10,
                  .max_length_bytes = 100'000,
                  .overflow = Overflow::reject_publish,
                  .dead_letter_exchange = "",
                  .delivery_limit = 9})
            ->limit == 9);
}

TEST_CASE("a parked queue is a classic one, whatever the virtual host's default is") {
  const auto& broker = support::shared_broker();
  const std::string vhost = support::unique_name("quorum_by_default");
  broker.ctl({"add_vhost", vhost, "--default-queue-type", "quorum"});
  broker.ctl({"set_permissions", "-p", vhost, broker.endpoint().user, ".*", ".*", ".*"});
  {
    Endpoint endpoint = broker.endpoint();
    endpoint.vhost = vhost;
    Connection connection(endpoint, support::test_options());
    connection.open_channel().declare_queue("orders");
    REQUIRE(engine::delivery_limit(core(connection), "orders")->is_quorum);
    RetryPolicy::immediate().declare(connection, "orders");
    CHECK_FALSE(engine::delivery_limit(core(connection), "orders_parked")->is_quorum);
  }
  broker.ctl({"delete_vhost", vhost});
}

TEST_CASE("a parked queue that would delete what rests in it is warned about") {
  struct Case {
    QueueOptions options;
    bool warns;
  };
  const std::vector<Case> cases = {{{.type = QueueType::quorum}, true},
                                   {{.type = QueueType::quorum, .delivery_limit = 20}, true},
                                   {{.type = QueueType::quorum, .delivery_limit = 1'000'000'000}, false},
                                   {{.max_length = 100, .overflow = Overflow::reject_publish}, false},
                                   {{}, false}};
  for (const Case& each : cases) {
    Bench bench;
    bench.channel().declare_queue(bench.parked, each.options);
    const Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::immediate()});
    const auto warned = [&] { return bench.log.has("it may delete messages that rest in it"); };
    if (each.warns) {
      CHECK(eventually(warned));
    } else {
      bench.connection.close();  // with all of its log
      CHECK_FALSE(warned());
    }
    Connection(support::shared_broker().url()).open_channel().declare_queue_passive(bench.parked).remove();
  }
}
