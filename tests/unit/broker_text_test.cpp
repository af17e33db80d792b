#include "wire/broker_text.hpp"

#include <warren/reply_code.hpp>

#include "support/catch.hpp"
#include "wire/status.hpp"

using namespace warren;
namespace wire = warren::wire;

TEST_CASE("the queue that is missing is read from a 404, whatever its name holds") {
  CHECK(wire::missing_queue("NOT_FOUND - no queue 'orders' in vhost '/'") == "orders");
  CHECK(wire::missing_queue("NOT_FOUND - no queue 'a' in vhost 'b' in vhost '/'") == "a' in vhost 'b");
  CHECK_FALSE(wire::missing_queue("NOT_FOUND - no exchange 'orders' in vhost '/'"));
  CHECK_FALSE(wire::missing_queue("' in vhost 'no queue '"));
  CHECK_FALSE(wire::missing_queue(
      "NOT_FOUND - no queue 'q' in vhost '/'; its home node 'rabbit@b' is down or inaccessible"));
}

TEST_CASE("an exchange is named by an error only in single quotes") {
  CHECK(wire::is_named("shop", "NOT_FOUND - no exchange 'shop' in vhost '/'"));
  CHECK_FALSE(wire::is_named("shop", "NOT_FOUND - no exchange 'shops' in vhost '/'"));
  CHECK_FALSE(wire::is_named("", "NOT_FOUND - no exchange '' in vhost '/'"));
}

TEST_CASE("the argument that differs is read from a 406, with the queue's own value") {
  const auto number = wire::read_inequivalent(
      "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but "
      "current is the value '7' of type 'long'");
  CHECK(number.argument == "x-max-length");
  CHECK(number.current == FieldValue(std::int64_t{7}));
  const auto type = wire::read_inequivalent(
      "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'classic' "
      "but current is 'stream'");
  CHECK(type.argument == "x-queue-type");
  CHECK(type.current == FieldValue("stream"));
  const auto none = wire::read_inequivalent(
      "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/': received the value '1' "
      "of type 'long' but current is none");
  CHECK(none.argument == "x-expires");
  CHECK_FALSE(none.current);
  CHECK(wire::read_inequivalent("PRECONDITION_FAILED - queue 'q' in vhost '/' in use").argument.empty());
}

TEST_CASE("what is permanent is decided by the code, and by the words where the code is not enough") {
  using namespace reply_code;
  const char* down =
      "NOT_FOUND - queue 'q' in vhost '/' process is stopped: home node is down or inaccessible";
  const char* overdue = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out";
  CHECK(wire::is_permanent_channel_close(not_found, "NOT_FOUND - no queue 'q' in vhost '/'"));
  CHECK_FALSE(wire::is_permanent_channel_close(not_found, down));
  CHECK(wire::is_permanent_channel_close(precondition_failed, "PRECONDITION_FAILED - inequivalent arg"));
  CHECK_FALSE(wire::is_permanent_channel_close(precondition_failed, overdue));
  CHECK(wire::is_permanent_channel_close(access_refused, ""));
  CHECK_FALSE(wire::is_permanent_channel_close(resource_locked, ""));
  CHECK(wire::is_permanent_close(not_allowed, "NOT_ALLOWED - vhost x not found"));
  CHECK_FALSE(wire::is_permanent_close(not_allowed, "NOT_ALLOWED - connection limit (10) is reached"));
  CHECK_FALSE(wire::is_permanent_close(internal_error, "INTERNAL_ERROR"));
  CHECK(wire::is_permanent_close(internal_error, "Feature `x` is deprecated."));
  CHECK(wire::is_permanent_close(command_invalid, ""));
  CHECK_FALSE(wire::is_permanent_close(connection_forced, "CONNECTION_FORCED - broker forced"));
  CHECK(wire::is_refused_login(access_refused));
  CHECK_FALSE(wire::is_refused_login(invalid_path));
  CHECK(wire::ends_recovery(not_implemented));
  CHECK_FALSE(wire::ends_recovery(connection_forced));
}
