#include <warren/warren.hpp>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "support/broker.hpp"
#include "support/catch.hpp"

using namespace support;
using warren::Channel;
using warren::Connection;
using warren::FieldArray;
using warren::FieldTable;
using warren::FieldValue;
using warren::Message;

namespace {

FieldTable every_type() {
  using std::numeric_limits;
  FieldTable table{
      {"void", {}},
      {"true", true},
      {"false", false},
      {"int8", numeric_limits<std::int8_t>::min()},
      {"uint8", numeric_limits<std::uint8_t>::max()},
      {"int16", numeric_limits<std::int16_t>::min()},
      {"uint16", numeric_limits<std::uint16_t>::max()},
      {"int32", numeric_limits<std::int32_t>::min()},
      {"uint32", numeric_limits<std::uint32_t>::max()},
      {"int64", numeric_limits<std::int64_t>::min()},
      {"int64-most", numeric_limits<std::int64_t>::max()},
      {"float", 1.5F},
      {"double", -2.25},
      {"decimal", warren::Decimal{2, 314}},
      {"string", "text"},
      {"empty", ""},
      {"utf-8", "Gr\u00fc\u00dfe"},
      {"zeros", std::string("a\0b", 3)},
      {"binary", warren::Binary{std::string("\0\xff\x01", 3)}},
      {"timestamp", warren::Timestamp(std::chrono::seconds(1'700'000'000))},
      {"array", FieldArray{7, "seven", FieldValue(FieldArray{}), FieldTable{{"in", 1}}}},
      {"empty table", FieldTable{}},
      {"nested", FieldTable{{"a", FieldTable{{"b", FieldTable{{"c", FieldArray{1, 2}}}}}}}},
  };
  table.set(std::string(255, 'k'), "a key of 255 bytes");
  // RabbitMQ 4 sorts them, others keep their order.
  std::vector<warren::FieldEntry> entries(table.begin(), table.end());
  std::ranges::sort(entries, {}, &warren::FieldEntry::key);
  FieldTable sorted;
  for (warren::FieldEntry& entry : entries) sorted.append(std::move(entry.key), std::move(entry.value));
  return sorted;
}

warren::Properties all_properties() {
  return {.content_type = "application/octet-stream",
          .content_encoding = "identity",
          .headers = every_type(),
          .delivery_mode = warren::DeliveryMode::persistent,
          .priority = std::uint8_t{9},
          .correlation_id = "correlation",
          .reply_to = "reply-to",
          .expiration = 3'600'000ms,
          .message_id = std::string(255, 'm'),
          .timestamp = warren::Timestamp(std::chrono::seconds(1'700'000'001)),
          .type = "type",
          .user_id = "guest",
          .app_id = "app",
          .cluster_id = "cluster"};
}

struct Fixture {
  Connection connection{shared_broker().endpoint(), test_options()};
  Channel channel = connection.open_channel();
  std::string queue = channel.declare_queue("", {.exclusive = true}).name();

  Message received(const std::string& from) {
    std::optional<warren::Delivery> delivery;
    REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(from)).has_value(); }));
    return delivery->message();
  }
};

void check_same(const FieldTable& sent, const FieldTable& got) {
  for (const warren::FieldEntry& entry : sent) {
    INFO(entry.key);
    const FieldValue* value = got.find(entry.key);
    REQUIRE(value != nullptr);
    CHECK(value->variant().index() == entry.value.variant().index());
    CHECK(*value == entry.value);
  }
}

}  // namespace

TEST_CASE_METHOD(Fixture, "all properties and field types come through the broker as they were sent") {
  const Message sent("body", all_properties());
  channel.publish("", queue, sent);
  const Message got = received(queue);
  check_same(sent.properties().headers, got.properties().headers);
  CHECK(got == sent);
}

TEST_CASE_METHOD(Fixture, "no properties stay none, and an empty body stays empty") {
  channel.publish("", queue, Message());
  CHECK(received(queue) == Message());
}

TEST_CASE_METHOD(Fixture, "each property alone comes through, and brings no other one") {
  const warren::Properties all = all_properties();
  const auto check = [&](auto member) {
    Message sent;
    sent.properties().*member = all.*member;
    channel.publish("", queue, sent);
    CHECK(received(queue) == sent);
  };
  using P = warren::Properties;
  for (auto member : {&P::content_type, &P::content_encoding, &P::correlation_id, &P::reply_to,
                      &P::message_id, &P::type, &P::user_id, &P::app_id, &P::cluster_id}) {
    check(member);
  }
  check(&P::headers);
  check(&P::delivery_mode);
  check(&P::priority);
  check(&P::expiration);
  check(&P::timestamp);
}

TEST_CASE_METHOD(
    Fixture, "the broker reads every field type and writes it again: a dead-lettered message keeps them") {
  // To dead-letter is to add a header, so the broker decodes the table and encodes it anew.
  const auto dying = channel.declare_queue(
      "",
      {.exclusive = true, .message_ttl = 0ms, .dead_letter_exchange = "", .dead_letter_routing_key = queue});
  warren::Properties properties = all_properties();
  properties.expiration.reset();
  channel.publish("", dying.name(), Message("body", properties));
  const Message got = received(queue);
  CHECK(got.properties().headers.contains("x-death"));
  check_same(properties.headers, got.properties().headers);
}

TEST_CASE_METHOD(Fixture, "x-death, the broker's own header, is read whole") {
  const auto dying = channel.declare_queue(
      "",
      {.exclusive = true, .message_ttl = 0ms, .dead_letter_exchange = "", .dead_letter_routing_key = queue});
  channel.publish("", dying.name(), Message("body"));
  const Message got = received(queue);
  const FieldValue* death = got.properties().headers.find("x-death");
  REQUIRE(death != nullptr);
  const auto* deaths = death->get_if<FieldArray>();
  REQUIRE(deaths != nullptr);
  REQUIRE(deaths->size() == 1);
  const auto* first = deaths->front().get_if<FieldTable>();
  REQUIRE(first != nullptr);
  CHECK(first->find("queue")->as_string() == dying.name());
  CHECK(first->find("reason")->as_string() == "expired");
  CHECK(first->find("count")->as_integer() == 1);
  CHECK(first->find("time")->get_if<warren::Timestamp>() != nullptr);
}

TEST_CASE_METHOD(Fixture, "bodies of any bytes come through") {
  std::string body;
  for (int i = 0; i < 1'024; ++i) body.push_back(static_cast<char>(i));
  channel.publish("", queue, Message(body));
  CHECK(received(queue).body() == body);
}

TEST_CASE_METHOD(Fixture, "the helpers' content types are sent") {
  channel.publish("", queue, Message::json("{}"));
  CHECK(received(queue).properties().content_type == "application/json");
  channel.publish("", queue, Message::text("hello"));
  CHECK(received(queue).properties().content_type == "text/plain; charset=utf-8");
}

TEST_CASE_METHOD(Fixture,
                 "a publisher's stamp is not seen by the receiver; its message comes as it was, persistent") {
  const Message sent("body", all_properties());
  warren::Publisher publisher{connection, {.routing_key = queue}};
  publisher.publish(sent);
  CHECK(received(queue) == sent);
  publisher.publish(Message("plain"));
  const Message plain = received(queue);
  CHECK(plain.properties().headers.empty());
  CHECK(plain.properties().delivery_mode == warren::DeliveryMode::persistent);
}
