#include <warren/warren.hpp>

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/thrown.hpp"

// Only in a build without TLS: the same headers, and a clear error.

TEST_CASE("a build without TLS says so, at once and for good", "[tls]") {
  const auto error = support::thrown<warren::ConnectionError>(
      [] { return warren::Connection("amqps://there.is.none.invalid", support::test_options()); });
  CHECK(error.permanent());
  CHECK(error.text() == "this build of warren has no TLS");
  CHECK(error.operation() == "connect to there.is.none.invalid:5671");
}
