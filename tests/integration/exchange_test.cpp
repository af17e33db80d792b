#include <warren/warren.hpp>

#include <optional>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::ChannelError;
using warren::Connection;
using warren::Exchange;
using warren::ExchangeType;
using warren::Queue;

namespace {

struct Fixture {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();

  Queue queue() { return channel.declare_queue("", {.exclusive = true}); }
  // Gone with its last binding; the tests' queues go with the connection.
  Exchange exchange(ExchangeType type) {
    return channel.declare_exchange(unique_name("exchange"), {.type = type, .auto_delete = true});
  }
  // Messages of one channel arrive in their order, so what is to come has come once this declaration is
  // answered.
  std::uint32_t arrived(const Queue& queue) {
    return channel.declare_queue_passive(queue.name()).message_count();
  }
  void publish(const Exchange& exchange, const std::string& key, warren::FieldTable headers = {}) {
    warren::Properties properties;
    properties.headers = std::move(headers);
    channel.publish(exchange.name(), key, warren::Message("m", std::move(properties)));
  }
  bool gets(const Queue& queue, std::uint32_t count) {
    return eventually([&] { return arrived(queue) == count; });
  }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "a direct exchange routes by the key itself") {
  const Exchange exchange = this->exchange(ExchangeType::direct);
  Queue a = queue();
  Queue b = queue();
  a.bind(exchange, "a");
  b.bind(exchange, "b");
  publish(exchange, "a");
  publish(exchange, "b");
  publish(exchange, "b");
  publish(exchange, "c");
  CHECK(gets(a, 1));
  CHECK(gets(b, 2));
  a.unbind(exchange, "a");
  publish(exchange, "a");
  publish(exchange, "b");
  CHECK(gets(b, 3));
  CHECK(arrived(a) == 1);
}

TEST_CASE_METHOD(Fixture, "a fanout exchange routes to every queue, whatever the key") {
  const Exchange exchange = this->exchange(ExchangeType::fanout);
  Queue a = queue();
  Queue b = queue();
  a.bind(exchange, "");
  b.bind(exchange.name(), "ignored");
  publish(exchange, "any");
  CHECK(gets(a, 1));
  CHECK(gets(b, 1));
}

TEST_CASE_METHOD(Fixture, "a topic exchange routes by pattern") {
  const Exchange exchange = this->exchange(ExchangeType::topic);
  Queue one_word = queue();
  Queue all_words = queue();
  one_word.bind(exchange, "orders.*");
  all_words.bind(exchange, "orders.#");
  publish(exchange, "orders.new");
  publish(exchange, "orders.new.paid");
  publish(exchange, "invoices.new");
  CHECK(gets(all_words, 2));
  CHECK(arrived(one_word) == 1);
}

TEST_CASE_METHOD(Fixture,
                 "a headers exchange routes by the arguments of its bindings, which differ by them alone") {
  const Exchange exchange = this->exchange(ExchangeType::headers);
  Queue all = queue();
  Queue any = queue();
  const warren::FieldTable match_all{{"x-match", "all"}, {"colour", "red"}, {"size", 7}};
  all.bind(exchange, "", match_all);
  any.bind(exchange, "", {{"x-match", "any"}, {"colour", "red"}, {"size", 7}});
  publish(exchange, "", {{"colour", "red"}, {"size", 7}});
  publish(exchange, "", {{"colour", "red"}});
  publish(exchange, "", {{"colour", "blue"}});
  CHECK(gets(any, 2));
  CHECK(arrived(all) == 1);

  all.unbind(exchange, "", {{"x-match", "all"}, {"colour", "red"}});  // no such binding: nothing happens
  publish(exchange, "", {{"colour", "red"}, {"size", 7}});
  CHECK(gets(all, 2));
  all.unbind(exchange, "", match_all);
  publish(exchange, "", {{"colour", "red"}, {"size", 7}});
  CHECK(gets(any, 4));
  CHECK(arrived(all) == 2);
}

TEST_CASE_METHOD(Fixture, "an exchange is bound to an exchange, and unbound") {
  const Exchange source = exchange(ExchangeType::topic);
  Exchange destination = exchange(ExchangeType::fanout);
  Queue queue = this->queue();
  queue.bind(destination, "");
  destination.bind(source, "eu.#");
  publish(source, "eu.de");
  publish(source, "us.ny");
  CHECK(gets(queue, 1));
  destination.bind(source.name(), "us.#");
  destination.unbind(source, "eu.#");
  publish(source, "eu.de");
  publish(source, "us.ny");
  CHECK(gets(queue, 2));
}

TEST_CASE_METHOD(Fixture, "what can't be routed goes to the alternate exchange") {
  const Exchange alternate = exchange(ExchangeType::fanout);
  Queue lost = queue();
  lost.bind(alternate, "");
  Queue found = queue();
  Exchange exchange = channel.declare_exchange(unique_name("with-alternate"),
                                               {.auto_delete = true, .alternate_exchange = alternate.name()});
  found.bind(exchange, "known");
  publish(exchange, "known");
  publish(exchange, "unknown");
  CHECK(gets(lost, 1));
  CHECK(gets(found, 1));
}

TEST_CASE_METHOD(Fixture, "an internal exchange refuses publishes (403) and takes from other exchanges") {
  const Exchange source = exchange(ExchangeType::fanout);
  Exchange internal = channel.declare_exchange(
      unique_name("internal"), {.type = ExchangeType::fanout, .auto_delete = true, .internal = true});
  Queue queue = this->queue();
  queue.bind(internal, "");
  internal.bind(source, "");
  publish(source, "");
  CHECK(gets(queue, 1));
  publish(internal, "");
  REQUIRE(eventually([&] { return !channel.is_open(); }));
  CHECK(thrown<ChannelError>([&] { channel.declare_exchange_passive("amq.topic"); }).code() == 403);
}

TEST_CASE_METHOD(Fixture, "an exchange's options are what the broker has") {
  const std::string durable = unique_name("durable");
  const std::string all = unique_name("all-options");
  Exchange first = channel.declare_exchange(durable);
  Exchange second =
      channel.declare_exchange(all, {.type = ExchangeType::headers,
                                     .durable = false,
                                     .auto_delete = true,
                                     .internal = true,
                                     .alternate_exchange = "amq.fanout",
                                     .arguments = {{"alternate-exchange", "loses"}, {"own", 7}}});
  std::vector<std::string> of_first;
  std::vector<std::string> of_second;
  for (auto& row : shared_broker().list(
           {"list_exchanges", "name", "type", "durable", "auto_delete", "internal", "arguments"})) {
    if (row.front() == durable) of_first = row;
    if (row.front() == all) of_second = row;
  }
  CHECK(of_first == std::vector<std::string>{durable, "direct", "true", "false", "false", "[]"});
  REQUIRE(of_second.size() == 6);
  CHECK(std::vector(of_second.begin(), of_second.end() - 1) ==
        std::vector<std::string>{all, "headers", "false", "true", "true"});
  CHECK(contains(of_second.back(), "{\"alternate-exchange\",\"amq.fanout\"}"));
  CHECK(contains(of_second.back(), "{\"own\",7}"));
  first.remove();
  second.remove();
}

TEST_CASE_METHOD(Fixture, "a passive declaration finds an exchange of any type and properties") {
  for (const char* name : {"amq.direct", "amq.fanout", "amq.topic", "amq.headers"}) {
    CHECK(channel.declare_exchange_passive(name).name() == name);
  }
}

TEST_CASE_METHOD(Fixture, "remove() deletes; with if_unused only what is not bound (406)") {
  const std::string name = unique_name("to-remove");
  Exchange exchange = channel.declare_exchange(name);
  Queue queue = this->queue();
  queue.bind(exchange, "key");
  const auto error = thrown<ChannelError>([&] { exchange.remove({.if_unused = true}); });
  CHECK(error.code() == 406);
  CHECK(contains(error.text(), "in use"));

  channel = connection.open_channel();
  exchange = channel.declare_exchange_passive(name);
  exchange.remove();
  CHECK(thrown<ChannelError>([&] { channel.declare_exchange_passive(name); }).code() == 404);
  channel = connection.open_channel();
  channel.declare_exchange(name).remove({.if_unused = true});
  CHECK(thrown<ChannelError>([&] { channel.declare_exchange_passive(name); }).code() == 404);
}

TEST_CASE_METHOD(Fixture, "a type that no plugin brings is refused, and names itself") {
  const auto error = thrown<warren::Error>(
      [&] { channel.declare_exchange(unique_name("custom"), {.custom_type = "x-there-is-none"}); });
  CHECK(contains(error.text(), "x-there-is-none"));
}

TEST_CASE("an exchange outlives the channel that declared it, but not its connection") {
  std::optional<Exchange> kept;
  {
    Connection connection{shared_broker().endpoint(), test_options()};
    Exchange exchange = connection.open_channel().declare_exchange(unique_name("outlives"));
    exchange.bind("amq.topic", "key");
    exchange.unbind("amq.topic", "key");
    {
      Channel channel = connection.open_channel();
      Exchange found = channel.declare_exchange_passive(exchange.name());
      CHECK(thrown<ChannelError>([&] { found.bind(unique_name("none"), ""); }).code() == 404);
      Queue bound = connection.open_channel().declare_queue("", {.exclusive = true});
      bound.bind(found, "key");
      CHECK(thrown<ChannelError>([&] { found.remove({.if_unused = true}); }).code() == 406);
      bound.unbind(found, "key");
    }
    exchange.remove();
    CHECK(thrown<ChannelError>([&] {
            connection.open_channel().declare_exchange_passive(exchange.name());
          }).code() == 404);
    kept = exchange;
  }
  CHECK_FALSE(thrown<warren::ConnectionError>([&] { kept->remove(); }).in_doubt());
}
