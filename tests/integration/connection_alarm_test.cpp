#include <warren/warren.hpp>

#include <future>
#include <mutex>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

using namespace support;
using warren::Connection;
using warren::ConnectionState;

namespace {

// Publishes, so that the broker blocks the connection, until it says so.
void be_blocked(Connection& connection, warren::Channel& channel) {
  channel.publish("", "nowhere", warren::Message("a drop"));
  REQUIRE(eventually([&] { return connection.blocked().has_value(); }));
}

}  // namespace

TEST_CASE("a memory alarm: seen, told, survived by close(), destructor and calls that wait", "[alarm]") {
  PrivateBroker broker;
  std::mutex mutex;
  std::vector<warren::StateEvent> events;
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 500ms;
  options.operation_timeout = 4s;
  options.on_state = [&](const warren::StateEvent& event) {
    const std::lock_guard lock(mutex);
    events.push_back(event);
  };
  Connection patient{broker.endpoint(), options};
  options.on_state = {};
  options.operation_timeout = 30s;
  Connection closed{broker.endpoint(), options};
  std::optional<Connection> destroyed(std::in_place, broker.endpoint(), options);
  Connection idle{broker.endpoint(), options};
  warren::Channel on_patient = patient.open_channel();
  warren::Channel on_closed = closed.open_channel();
  warren::Channel on_destroyed = destroyed->open_channel();
  warren::Channel on_idle = idle.open_channel();

  broker.begin_memory_alarm();
  be_blocked(patient, on_patient);
  be_blocked(closed, on_closed);
  be_blocked(*destroyed, on_destroyed);
  CHECK(contains(*patient.blocked(), "memory"));
  CHECK(patient.is_open());

  SECTION("close() and the destructor are bounded while blocked, in this order and the other") {
    auto waiter = std::async(std::launch::async, [&] {
      return thrown<warren::Error>([&] { on_closed.declare_queue("", {.exclusive = true}); }).details();
    });
    CHECK(time_of([&] { closed.close(); }) < 500ms + slack);
    CHECK(closed.state() == ConnectionState::closed);
    CHECK_FALSE(closed.blocked().has_value());
    CHECK(waiter.wait_for(slack) == std::future_status::ready);
    CHECK(time_of([&] { destroyed.reset(); }) < 500ms + slack);
  }
  SECTION(
      "a call that waits in vain says that the broker blocks; a connection that publishes nothing works on") {
    const auto error =
        thrown<warren::BlockedError>([&] { on_patient.declare_queue("", {.exclusive = true}); });
    CHECK(contains(error.text(), "memory"));
    CHECK(error.in_doubt());
    const auto once = thrown<warren::BlockedError>([&] { (void)patient.open_channel(); });
    CHECK(once.text().find("the broker blocks") == once.text().rfind("the broker blocks"));
    CHECK_NOTHROW(on_idle.declare_queue("", {.exclusive = true}));
  }
  SECTION("the alarm's end is told, and the same connection works again") {
    broker.end_memory_alarm();
    REQUIRE(eventually([&] { return !patient.blocked().has_value(); }));
    CHECK_NOTHROW(on_patient.declare_queue("", {.exclusive = true}));
    const auto told = [&](bool blocked) {
      const std::lock_guard lock(mutex);
      return std::any_of(events.begin(), events.end(), [&](const warren::StateEvent& event) {
        return event.state == ConnectionState::open && event.blocked.has_value() == blocked;
      });
    };
    CHECK(eventually([&] { return told(true); }));
    CHECK(eventually([&] {
      const std::lock_guard lock(mutex);
      return events.back().state == ConnectionState::open && !events.back().blocked;
    }));
  }
}
