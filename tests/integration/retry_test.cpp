#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "integration/retry_bench.hpp"
#include "support/proxy.hpp"

using namespace retry_tests;

// Policy none.

TEST_CASE("policy none: run rethrows what the handler threw, and the message is back in its queue") {
  Bench bench;
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue);
  std::atomic<int> runs{0};
  CHECK_THROWS_AS(consumer.run(Failing{.runs = &runs}), std::runtime_error);
  CHECK(runs == 1);
  CHECK(eventually([&] { return bench.ready(bench.queue) == 1; }));
  CHECK_FALSE(bench.exists(bench.parked));
  const Delivery back = bench.take(bench.queue);
  CHECK(back.body() == "one");
  CHECK(back.redelivered());
  CHECK(back.headers().empty());
  CHECK(consumer.status().acked == 0);
  CHECK_FALSE(consumer.status().subscribed);
}

TEST_CASE("policy none: a failure that the handler returns stops the consumer too") {
  for (const Outcome outcome : {Outcome::retry, Outcome::park}) {
    Bench bench;
    bench.publish("one");
    Consumer consumer(bench.connection, bench.queue);
    CHECK_THROWS(consumer.run([outcome](const Delivery&) { return outcome; }));
    CHECK(eventually([&] { return bench.ready(bench.queue) == 1; }));
  }
}

TEST_CASE("policy none: what waited behind a failed message goes back, and a new run handles it all") {
  Bench bench;
  for (int i = 0; i < 20; ++i) bench.publish(std::to_string(i));
  Consumer consumer(bench.connection, bench.queue, {.concurrency = 3});
  CHECK_THROWS_AS(consumer.run(Failing{}), std::runtime_error);
  CHECK(eventually([&] { return bench.ready(bench.queue) == 20; }));
  consumer.start([](const Delivery&) {});
  CHECK(eventually([&] { return consumer.status().acked == 20; }));
  consumer.stop();
  CHECK(bench.ready(bench.queue) == 0);
}

// Policy immediate.

TEST_CASE("policy immediate: tries in place, acknowledges the first success, makes no copy") {
  Bench bench;
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::immediate({.max_attempts = 4})});
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery&) {
    if (++runs < 3) throw std::runtime_error("not yet");
  });
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  consumer.stop();
  CHECK(runs == 3);
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.parked) == 0);
}

TEST_CASE("policy immediate: parks after the maximum") {
  Bench bench;
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::immediate({.max_attempts = 4})});
  std::atomic<int> runs{0};
  consumer.start(Failing{.runs = &runs});
  CHECK(eventually([&] { return consumer.status().parked == 1; }));
  consumer.stop();
  CHECK(runs == 4);
  CHECK(bench.ready(bench.queue) == 0);
  const Delivery parked = bench.take(bench.parked);
  CHECK(parked.body() == "one");
  CHECK(text(parked.headers(), "retry-reason") == "max-attempts");
  CHECK(integer(parked.headers(), "retry-attempt") == 4);
  CHECK(integer(parked.headers(), "retry-queue-attempt") == 4);
}

// Policy to_queue.

TEST_CASE("what a handler throws, whatever it is, neither ends the consumer nor spins") {
  Bench bench;
  for (const char* body : {"exception", "int", "string", "good"}) bench.publish(std::string(body));
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery& delivery) {
    ++runs;
    if (delivery.body() == "exception") throw std::out_of_range("thrown");
    if (delivery.body() == "int") throw 42;
    if (delivery.body() == "string") throw std::string("thrown");
  });
  CHECK(eventually([&] { return consumer.status().acked == 1 && consumer.status().retried == 3; }));
  CHECK(consumer.status().subscribed);
  consumer.stop();
  CHECK(runs == 4);
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.retry) == 3);
  const Delivery first = bench.take(bench.retry);
  CHECK(text(first.headers(), "retry-error-type") == "std::out_of_range");
  CHECK(text(first.headers(), "retry-error-message") == "thrown");
  CHECK(text(bench.take(bench.retry).headers(), "retry-error-type") == "int");
  CHECK(text(bench.take(bench.retry).headers(), "retry-error-message") == "thrown");
}

TEST_CASE("policy to_queue: runs in place ahead of the copy count as attempts") {
  Bench bench;
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = RetryPolicy::to_queue(bench.retry, {.max_attempts = 5, .runs_in_place = 2})});
  std::atomic<int> runs{0};
  consumer.start(Failing{.runs = &runs});
  CHECK(eventually([&] { return consumer.status().retried == 1; }));
  consumer.stop();
  CHECK(runs == 3);
  const Delivery copy = bench.take(bench.retry);
  CHECK(integer(copy.headers(), "retry-attempt") == 3);
  CHECK(integer(copy.headers(), "retry-queue-attempt") == 0);
}

TEST_CASE("each outcome that a handler returns does what it says") {
  Bench bench;
  Channel channel = bench.channel();
  channel.declare_queue(bench.other);
  const std::string queue = bench.queue + "_dlx";
  Queue work =
      channel.declare_queue(queue, {.dead_letter_exchange = "", .dead_letter_routing_key = bench.other});
  const RetryPolicy policy = RetryPolicy::to_queue(bench.retry, {.parked_queue = bench.parked});
  Publisher publisher(bench.connection, {.routing_key = queue});
  for (const char* body : {"ack", "retry", "reject", "requeue", "dead_letter"})
    publisher.publish(Message(body));
  Consumer consumer(bench.connection, queue, {.retry = policy});
  std::atomic<int> requeued{0};
  consumer.start([&](const Delivery& delivery) {
    if (delivery.body() == "retry") return Outcome::retry;
    if (delivery.body() == "reject") return Outcome::park;
    if (delivery.body() == "dead_letter") return Outcome::dead_letter;
    if (delivery.body() == "requeue" && !delivery.redelivered()) {
      ++requeued;
      return Outcome::requeue;
    }
    return Outcome::ack;
  });
  CHECK(eventually([&] {
    const ConsumerStatus status = consumer.status();
    return status.acked == 2 && status.retried == 1 && status.parked == 1 && bench.ready(bench.other) == 1;
  }));
  consumer.stop();
  CHECK(requeued == 1);
  CHECK(work.remove() == 0);
  const Delivery retried = bench.take(bench.retry);
  CHECK(retried.body() == "retry");
  CHECK(text(retried.headers(), "retry-reason") == "exception");
  CHECK_FALSE(retried.headers().contains("retry-error-type"));
  const Delivery parked = bench.take(bench.parked);
  CHECK(parked.body() == "reject");
  CHECK(text(parked.headers(), "retry-reason") == "rejected");
  CHECK_FALSE(parked.headers().contains("retry-error-type"));
  CHECK(bench.take(bench.other).body() == "dead_letter");
}

TEST_CASE("an original with CC, user id and expiration is retried without extra copies") {
  Bench bench;
  Channel channel = bench.channel();
  channel.declare_queue(bench.other);
  Message message("one", {.headers = {{"CC", FieldArray{bench.other}}}, .expiration = 1h});
  message.properties().user_id = support::shared_broker().endpoint().user;
  bench.publish(message);
  REQUIRE(bench.ready(bench.other) == 1);

  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  consumer.start(Failing{});
  CHECK(eventually([&] { return consumer.status().retried == 1; }));
  consumer.stop();
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.retry) == 1);
  CHECK(bench.ready(bench.other) == 1);
  const Delivery copy = bench.take(bench.retry);
  CHECK_FALSE(copy.properties().user_id.has_value());
  CHECK_FALSE(copy.properties().expiration.has_value());
  CHECK(copy.properties().delivery_mode == DeliveryMode::persistent);
  CHECK_FALSE(copy.headers().contains("CC"));
  CHECK(integer(copy.headers(), "retry-original-expiration") == 3'600'000);
  CHECK(text(copy.headers(), "retry-original-user-id") == support::shared_broker().endpoint().user);
  CHECK(*copy.headers().find("retry-original-cc") == FieldValue(FieldArray{bench.other}));
}

TEST_CASE("a copy does not fan out again") {
  Bench bench;
  Channel channel = bench.channel();
  channel.declare_exchange(bench.exchange, {.type = ExchangeType::fanout});
  channel.declare_queue(bench.other).bind(bench.exchange, "");
  channel.declare_queue(bench.queue).bind(bench.exchange, "");
  Publisher(bench.connection, {.exchange = bench.exchange, .routing_key = "order.new"})
      .publish(Message("one"));

  Consumer first(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  first.start(Failing{});
  CHECK(eventually([&] { return first.status().retried == 1; }));
  first.stop();

  std::string exchange;
  std::string routing_key;
  Consumer second(bench.connection, bench.retry,
                  {.retry = RetryPolicy::immediate({.parked_queue = bench.parked})});
  second.start([&](const Delivery& delivery) {  // sees where the original was published to
    exchange = delivery.exchange();
    routing_key = delivery.routing_key();
  });
  CHECK(eventually([&] { return second.status().acked == 1; }));
  second.stop();
  CHECK(exchange == bench.exchange);
  CHECK(routing_key == "order.new");
  CHECK(bench.ready(bench.other) == 1);
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.retry) == 0);
}

TEST_CASE("the maximum of attempts parks, with all headers") {
  Bench bench;
  bench.publish(Message("one", {.headers = {{"tenant", "t"}}, .message_id = "m-1"}));
  std::atomic<int> runs{0};
  Consumer first(bench.connection, bench.queue,
                 {.retry = RetryPolicy::to_queue(bench.retry, {.name = "first"})});
  Consumer second(
      bench.connection, bench.retry,
      {.retry = RetryPolicy::to_queue(bench.retry, {.max_attempts = 3, .parked_queue = bench.parked})});
  first.start(Failing{.runs = &runs});
  second.start(Failing{.text = "still", .runs = &runs});
  CHECK(eventually([&] { return second.status().parked == 1; }));
  first.stop();
  second.stop();
  CHECK(runs == 4);
  CHECK(second.status().retried == 2);
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.retry) == 0);

  const Delivery parked = bench.take(bench.parked);
  const FieldTable& headers = parked.headers();
  CHECK(parked.body() == "one");
  CHECK(parked.properties().message_id == "m-1");
  CHECK(text(headers, "tenant") == "t");
  CHECK(text(headers, "retry-id") == "m-1");
  CHECK(integer(headers, "retry-attempt") == 4);
  CHECK(integer(headers, "retry-queue-attempt") == 3);
  CHECK(integer(headers, "retry-first-failure-at") <= integer(headers, "retry-last-failure-at"));
  CHECK(text(headers, "retry-reason") == "max-attempts");
  CHECK(text(headers, "retry-error-type") == "std::runtime_error");
  CHECK(text(headers, "retry-error-message") == "still");
  CHECK(text(headers, "retry-original-queue") == bench.queue);
  CHECK(text(headers, "retry-original-exchange").empty());
  CHECK(text(headers, "retry-original-routing-key") == bench.queue);
  CHECK_FALSE(text(headers, "retry-host").empty());
  CHECK(text(headers, "retry-policy") ==
        "to_queue(" + bench.retry + ", max_attempts=3, parked_queue=" + bench.parked + ")");
  CHECK_FALSE(headers.contains("x-death"));
}

TEST_CASE("a rejected message parks at once, an undecodable one too") {
  Bench bench;
  bench.publish("rejected");
  bench.publish("undecodable");
  Consumer consumer(bench.connection, bench.queue,
                    {.retry = RetryPolicy::to_queue(bench.retry, {.runs_in_place = 3})});
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery& delivery) {
    ++runs;
    if (delivery.body() == "rejected") throw Park("no such item");
    throw Undecodable("no JSON");
  });
  CHECK(eventually([&] { return consumer.status().parked == 2; }));
  consumer.stop();
  CHECK(runs == 2);
  CHECK(bench.ready(bench.retry) == 0);
  const Delivery rejected = bench.take(bench.parked);
  CHECK(text(rejected.headers(), "retry-reason") == "rejected");
  CHECK(text(rejected.headers(), "retry-error-message") == "no such item");
  CHECK(integer(rejected.headers(), "retry-attempt") == 1);
  CHECK(text(bench.take(bench.parked).headers(), "retry-reason") == "undecodable");
}

TEST_CASE("a queue that was deleted is declared again, and the copy arrives") {
  Bench bench;
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  consumer.start([](const Delivery& delivery) {
    if (delivery.body() == "reject") throw Park("rejected");
    throw std::runtime_error("failed");
  });
  for (int round = 1; round <= 2; ++round) {  // with the connection for copies not yet open, and open
    bench.remove_queue(bench.parked);
    bench.remove_queue(bench.retry);
    bench.publish("reject");
    bench.publish("fail");
    CHECK(eventually([&] {
      return consumer.status().parked == static_cast<std::uint64_t>(round) &&
             consumer.status().retried == static_cast<std::uint64_t>(round);
    }));
    CHECK(bench.ready(bench.parked) == 1);
    CHECK(bench.ready(bench.retry) == 1);
  }
  consumer.stop();
  CHECK(bench.ready(bench.queue) == 0);
}

TEST_CASE("while the parked queue is full, the message is held, not dropped") {
  Bench bench;
  Channel channel = bench.channel();
  // An operator's queue, with arguments that warren would not have given it: it is left as it is.
  Queue parked = channel.declare_queue(bench.parked, {.max_length = 1, .overflow = Overflow::reject_publish});
  Publisher(bench.connection, {.routing_key = bench.parked}).publish(Message("occupant"));
  bench.publish("one");
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::immediate({.max_attempts = 1})});
  consumer.start(Failing{});
  CHECK(eventually([&] { return bench.log.has("is held"); }));
  CHECK(consumer.status().running == 1);
  CHECK(consumer.status().parked == 0);

  SECTION("there is room again: parked") {
    CHECK(bench.take(bench.parked).body() == "occupant");
    CHECK(eventually([&] { return consumer.status().parked == 1; }));
    consumer.stop();
    CHECK(bench.ready(bench.queue) == 0);
    CHECK(bench.take(bench.parked).body() == "one");
  }
  SECTION("the consumer is stopped: back in its queue, without delay") {
    CHECK(support::time_of([&] { consumer.stop(); }) < 5s);
    CHECK(eventually([&] { return bench.ready(bench.queue) == 1; }));
    CHECK(bench.ready(bench.parked) == 1);
  }
}

TEST_CASE("a huge error text is cut, and both connections stay open") {
  Bench bench;
  for (int i = 0; i < 3; ++i) bench.publish("one");
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  std::string huge;
  while (huge.size() < (1 << 20)) huge += "€";
  consumer.start(Failing{.text = huge});
  CHECK(eventually([&] { return consumer.status().retried == 3; }));
  CHECK(consumer.status().subscribed);
  consumer.stop();
  CHECK(bench.connection.is_open());
  CHECK(bench.ready(bench.retry) == 3);
  CHECK(text(bench.take(bench.retry).headers(), "retry-error-message") == huge.substr(0, 1'023));
}

TEST_CASE("trace headers survive every hop") {
  Bench bench;
  const std::string traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const FieldTable user{{"traceparent", traceparent},
                        {"tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
                        {"baggage", FieldTable{{"user", "u"}, {"tags", FieldArray{1, "two", true}}}}};
  bench.publish(Message("one", {.headers = user, .correlation_id = "c-1"}));
  Consumer first(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  Consumer second(bench.connection, bench.retry,
                  {.retry = RetryPolicy::to_queue(bench.retry, {.parked_queue = bench.parked})});
  std::atomic<int> seen{0};
  const auto failing = [&](const Delivery& delivery) {
    const FieldValue* value = delivery.headers().find("traceparent");
    if (value != nullptr && *value == FieldValue(traceparent)) ++seen;
    throw std::runtime_error("on purpose");
  };
  first.start(failing);
  second.start(failing);
  CHECK(eventually([&] { return second.status().parked == 1; }));
  first.stop();
  second.stop();
  CHECK(seen == 6);
  const Delivery parked = bench.take(bench.parked);
  for (const FieldEntry& entry : user) {
    INFO(entry.key);
    REQUIRE(parked.headers().contains(entry.key));
    CHECK(*parked.headers().find(entry.key) == entry.value);
  }
  CHECK(parked.properties().correlation_id == "c-1");
}

TEST_CASE("hostile retry headers neither end a consumer nor keep a message going for ever") {
  Bench bench;
  const std::string big(60'000, 'x');
  const std::vector<FieldTable> attacks = {
      {{"retry-attempt", "many"}, {"retry-queue-attempt", FieldTable{{"n", 1}}}},
      {{"retry-attempt", std::int64_t{-5}}, {"retry-queue-attempt", std::int64_t{-5}}},
      {{"retry-id", big}, {"retry-host", big}},
      {{"retry-original-exchange", big}, {"retry-original-routing-key", 7}},
      {{"retry-original-exchange", "no such exchange"}, {"retry-original-routing-key", "nowhere"}},
      {{"retry-original-cc", FieldArray{1, FieldArray{}, "x"}}, {"retry-original-expiration", "soon"}}};
  for (const FieldTable& headers : attacks) bench.publish(Message("attack", {.headers = headers}));
  Consumer consumer(
      bench.connection, bench.queue,
      {.retry = RetryPolicy::to_queue(bench.queue, {.max_attempts = 3, .parked_queue = bench.parked})});
  std::atomic<int> runs{0};
  consumer.start(Failing{.runs = &runs});
  CHECK(eventually([&] { return consumer.status().parked == attacks.size(); }));
  consumer.stop();
  CHECK(runs == static_cast<int>(attacks.size()) * 3);
  CHECK(bench.ready(bench.queue) == 0);
  CHECK(bench.ready(bench.parked) == attacks.size());
}

TEST_CASE("a copy that is held is given up with its original's channel: the message comes again, once") {
  Bench bench;
  support::Proxy proxy(support::shared_broker().endpoint());
  bench.channel().declare_queue(bench.retry, {.max_length = 0, .overflow = Overflow::reject_publish});
  ConnectionOptions options = logging_to(bench.log);
  options.recovery.enabled = true;
  Connection connection(proxy.endpoint(), options);
  Consumer consumer(connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  std::atomic<int> runs{0};
  consumer.start([&](const Delivery&) {
    if (++runs == 1) throw std::runtime_error("on purpose");
  });
  bench.publish("one");
  REQUIRE(eventually([&] { return bench.log.has("is held"); }));
  proxy.cut();
  CHECK(eventually([&] { return consumer.status().acked == 1; }));
  CHECK(runs == 2);
  CHECK(consumer.status().stale == 1);
  CHECK(consumer.status().retried == 0);
}

TEST_CASE("a policy with an exchange of its own sends copies through that, and declares it") {
  Bench bench;
  const RetryPolicy policy = RetryPolicy::to_queue(bench.retry, {.exchange = bench.exchange});
  Consumer consumer(bench.connection, bench.queue, {.retry = policy});
  consumer.start([](const Delivery& delivery) {
    if (delivery.body() == "reject") throw Park("rejected");
    throw std::runtime_error("failed");
  });
  bench.publish("reject");
  bench.publish("fail");
  CHECK(eventually([&] { return consumer.status().parked == 1 && consumer.status().retried == 1; }));
  const Delivery copy = bench.take(bench.retry);
  CHECK(copy.exchange() == bench.exchange);
  CHECK(copy.routing_key() == bench.retry);
  CHECK(bench.take(bench.parked).exchange() == bench.exchange);

  // Gone, it is declared again with its bindings.
  bench.channel().declare_exchange_passive(bench.exchange).remove();
  bench.publish("fail");
  CHECK(eventually([&] { return consumer.status().retried == 2; }));
  consumer.stop();
  CHECK(bench.take(bench.retry).exchange() == bench.exchange);
}

TEST_CASE("a parked queue that is the consumer's own is refused when the consumer is made") {
  Bench bench;
  CHECK_THROWS_AS(Consumer(bench.connection, bench.queue,
                           {.retry = RetryPolicy::immediate({.parked_queue = bench.queue})}),
                  InvalidArgument);
}

TEST_CASE("a policy takes queues as it finds them, and makes plain durable ones") {
  Bench bench;
  Channel channel = bench.channel();
  channel.declare_queue(bench.parked, {.type = QueueType::quorum});
  Consumer consumer(bench.connection, bench.queue, {.retry = RetryPolicy::to_queue(bench.retry)});
  CHECK_NOTHROW(channel.declare_queue(bench.parked, {.type = QueueType::quorum}));
  CHECK_NOTHROW(channel.declare_queue(bench.retry));  // durable without arguments: any other client's too
}
