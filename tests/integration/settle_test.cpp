#include <warren/warren.hpp>

#include <latch>
#include <set>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Channel;
using warren::ChannelError;
using warren::Connection;
using warren::Delivery;
using warren::InvalidArgument;
using warren::Requeue;

namespace {

// A queue with messages, and a connection to it whose frames are seen.
struct Fixture {
  Proxy proxy{shared_broker().endpoint()};
  Connection connection{proxy.endpoint(), test_options()};
  Channel keeper = connection.open_channel();  // owns number 1
  std::string queue = keeper.declare_queue("", {.exclusive = true}).name();
  Channel channel = connection.open_channel();

  std::vector<Delivery> get(int count) {
    for (int i = 0; i < count; ++i) keeper.publish("", queue, warren::Message(std::to_string(i)));
    std::vector<Delivery> deliveries;
    REQUIRE(eventually([&] {
      while (static_cast<int>(deliveries.size()) < count) {
        auto delivery = channel.get(queue);
        if (!delivery) return false;
        deliveries.push_back(std::move(*delivery));
      }
      return true;
    }));
    return deliveries;
  }

  // The settlements on the wire, once an answer from the broker has shown that nothing more is on its way.
  std::vector<Frame> settlements() {
    keeper.declare_queue_passive(queue);
    std::vector<Frame> result;
    for (Frame& frame : proxy.frames()) {
      if (frame.type == 1 && frame.direction == Direction::to_broker &&
          (frame.method == method::basic_ack || frame.method == method::basic_nack ||
           frame.method == method::basic_reject)) {
        result.push_back(std::move(frame));
      }
    }
    return result;
  }

  // Messages ready and unsettled, by ending the channel that holds them.
  std::uint32_t left() {
    channel.close();
    std::optional<std::uint32_t> count;
    eventually([&] {
      const auto now = keeper.declare_queue_passive(queue).message_count();
      return std::exchange(count, now) == now;
    });
    return count.value_or(0);
  }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "get() says what it got; nothing where the queue is empty") {
  CHECK_FALSE(channel.get(queue).has_value());
  CHECK_FALSE(channel.get_no_ack(queue).has_value());
  const auto deliveries = get(2);
  CHECK(deliveries[0].body() == "0");
  CHECK(deliveries[0].exchange().empty());
  CHECK(deliveries[0].routing_key() == queue);
  CHECK(deliveries[0].consumer_tag().empty());
  CHECK(deliveries[0].delivery_tag() == 1);
  CHECK_FALSE(deliveries[0].redelivered());
  CHECK(deliveries[1].body() == "1");
  CHECK(deliveries[1].delivery_tag() == 2);
  CHECK(deliveries[1].messages_left() == 0);
  CHECK(left() == 2);
}

TEST_CASE_METHOD(Fixture, "ack() takes a message off the queue for good") {
  const auto deliveries = get(3);
  deliveries[1].ack();
  const auto sent = settlements();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].method == method::basic_ack);
  CHECK(sent[0].delivery_tag == 2);
  CHECK_FALSE(sent[0].multiple);
  CHECK(left() == 2);
}

TEST_CASE_METHOD(Fixture, "ack_up_to() settles all earlier ones of its channel, and no later one") {
  const auto deliveries = get(4);
  deliveries[0].nack(Requeue::no);
  deliveries[2].ack_up_to();
  for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(deliveries[static_cast<std::size_t>(i)].ack(), InvalidArgument);
  const auto sent = settlements();
  REQUIRE(sent.size() == 2);
  CHECK(sent[1].delivery_tag == 3);
  CHECK(sent[1].multiple);
  CHECK(left() == 1);
}

TEST_CASE_METHOD(Fixture, "ack_up_to() of one channel leaves another channel's deliveries alone") {
  const auto of_channel = get(2);
  Channel other = connection.open_channel();
  keeper.publish("", queue, warren::Message("other"));
  std::optional<Delivery> of_other;
  REQUIRE(eventually([&] { return (of_other = other.get(queue)).has_value(); }));
  of_channel[1].ack_up_to();
  CHECK_NOTHROW(of_other->nack(Requeue::yes));
  CHECK(eventually([&] { return keeper.declare_queue_passive(queue).message_count() == 1; }));
  CHECK(left() == 1);
}

TEST_CASE_METHOD(Fixture, "no delivery and tag 0 never mean all") {
  const auto deliveries = get(2);
  CHECK_THROWS_AS(Delivery().ack_up_to(), warren::InvalidArgument);
  CHECK_THROWS_AS(Delivery().nack(Requeue::no), warren::InvalidArgument);
  deliveries[1].ack_up_to();
  for (const Frame& frame : settlements()) CHECK(frame.delivery_tag != 0);
}

TEST_CASE_METHOD(Fixture, "nack() and reject() requeue or not, as they are told") {
  const auto deliveries = get(4);
  deliveries[0].nack(Requeue::yes);
  deliveries[1].nack(Requeue::no);
  deliveries[2].reject(Requeue::yes);
  deliveries[3].reject(Requeue::no);
  const auto sent = settlements();
  REQUIRE(sent.size() == 4);
  const std::uint32_t methods[] = {method::basic_nack, method::basic_nack, method::basic_reject,
                                   method::basic_reject};
  for (std::size_t i = 0; i < sent.size(); ++i) {
    CHECK(sent[i].method == methods[i]);
    CHECK(sent[i].delivery_tag == i + 1);
    CHECK(sent[i].requeue == (i % 2 == 0));
    CHECK_FALSE(sent[i].multiple);
  }
  std::optional<Delivery> again;
  REQUIRE(eventually([&] { return (again = channel.get(queue)).has_value(); }));
  CHECK(again->redelivered());
  CHECK(left() == 2);
}

TEST_CASE_METHOD(Fixture, "settling twice is refused locally: nothing is sent, the channel stays open") {
  const auto deliveries = get(3);
  const Delivery copy = deliveries[0];
  deliveries[0].ack();
  deliveries[1].nack(Requeue::no);
  deliveries[2].reject(Requeue::no);
  for (const Delivery& delivery : {copy, deliveries[0], deliveries[1], deliveries[2]}) {
    CHECK_THROWS_AS(delivery.ack(), InvalidArgument);
    CHECK_THROWS_AS(delivery.ack_up_to(), InvalidArgument);
    CHECK_THROWS_AS(delivery.nack(Requeue::yes), InvalidArgument);
    CHECK_THROWS_AS(delivery.reject(Requeue::yes), InvalidArgument);
  }
  CHECK(settlements().size() == 3);
  CHECK(channel.is_open());
  CHECK_NOTHROW(channel.get(queue));  // the broker would have closed it with 406
  const auto error = thrown<InvalidArgument>([&] { copy.ack(); });
  CHECK(error.permanent());
  CHECK(error.scope() == warren::ErrorScope::operation);
}

TEST_CASE_METHOD(Fixture, "what get_no_ack() brings is settled already") {
  keeper.publish("", queue, warren::Message("once"));
  std::optional<Delivery> delivery;
  REQUIRE(eventually([&] { return (delivery = channel.get_no_ack(queue)).has_value(); }));
  CHECK_THROWS_AS(delivery->ack(), InvalidArgument);
  CHECK_THROWS_AS(delivery->nack(Requeue::yes), InvalidArgument);
  // It counts as a delivery all the same: the next one's tag is right.
  const auto next = get(1);
  CHECK(next[0].delivery_tag() == 2);
  next[0].ack();
  CHECK(settlements().size() == 1);
  CHECK(left() == 0);
}

TEST_CASE_METHOD(Fixture, "a delivery of a closed channel settles nothing, not on its successor either") {
  const auto deliveries = get(2);
  const std::uint16_t number = channel.number();
  SECTION("closed by close()") { channel.close(); }
  SECTION("closed by the broker") { CHECK_THROWS_AS(channel.get("there-is-none"), ChannelError); }
  Channel successor = connection.open_channel();
  REQUIRE(successor.number() == number);
  std::optional<Delivery> again;
  REQUIRE(eventually([&] { return (again = successor.get(queue)).has_value(); }));
  REQUIRE(again->delivery_tag() == deliveries[0].delivery_tag());

  for (const Delivery& delivery : deliveries) {
    CHECK_THROWS_AS(delivery.ack(), ChannelError);
    CHECK_THROWS_AS(delivery.ack_up_to(), ChannelError);
    CHECK_THROWS_AS(delivery.nack(Requeue::no), ChannelError);
    CHECK_THROWS_AS(delivery.reject(Requeue::no), ChannelError);
  }
  CHECK(thrown<ChannelError>([&] { deliveries[0].ack(); }).scope() == warren::ErrorScope::channel);
  CHECK(settlements().empty());
  CHECK_NOTHROW(again->ack());
  CHECK(settlements().size() == 1);
  CHECK(successor.is_open());
}

TEST_CASE_METHOD(Fixture,
                 "of sixteen threads that settle the same delivery, one does; all others are told so") {
  const auto delivery = get(1).front();
  std::atomic<int> accepted{0};
  std::atomic<int> refused{0};
  {
    std::latch begin(16);
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&, i] {
        begin.arrive_and_wait();
        try {
          if (i % 2 == 0) {
            delivery.ack();
          } else {
            delivery.nack(Requeue::no);
          }
          ++accepted;
        } catch (const InvalidArgument&) {
          ++refused;
        }
      });
    }
  }
  CHECK(accepted == 1);
  CHECK(refused == 15);
  CHECK(settlements().size() == 1);
  CHECK(channel.is_open());
}

TEST_CASE_METHOD(Fixture, "deliveries settled by many threads at once are each settled once") {
  const auto deliveries = get(320);
  std::atomic<int> failed{0};
  {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < 16; ++thread) {
      threads.emplace_back([&, thread] {
        try {
          for (std::size_t i = thread; i < deliveries.size(); i += 16) deliveries[i].ack();
        } catch (const warren::Error&) {
          ++failed;
        }
      });
    }
  }
  CHECK(failed == 0);
  // Each tag is covered once, merged or not.
  std::uint64_t covered = 0;
  std::set<std::uint64_t> tags;
  for (const Frame& frame : settlements()) {
    covered = frame.multiple ? std::max(covered, frame.delivery_tag) : covered;
    CHECK(tags.insert(frame.delivery_tag).second);
  }
  for (std::uint64_t tag = 1; tag <= deliveries.size(); ++tag) {
    if (tag > covered) CHECK(tags.contains(tag));
  }
  CHECK(channel.is_open());
  CHECK(left() == 0);
}
