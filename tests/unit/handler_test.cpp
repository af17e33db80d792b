#include <warren/handler.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "engine/delivery_access.hpp"
#include "support/catch.hpp"

using warren::Delivery;
using warren::Handler;
using warren::Outcome;
using warren::engine::DeliveryAccess;

namespace {

Delivery delivery_of(std::string body) {
  Delivery delivery;
  DeliveryAccess::message(delivery).body_buffer() = std::move(body);
  return delivery;
}

Outcome dead_letter(const Delivery&) { return Outcome::dead_letter; }

struct Overloaded {
  std::string called;
  void operator()(const Delivery&) { called = "const"; }
  Outcome operator()(Delivery&, int) { return Outcome::park; }
};

}  // namespace

static_assert(!std::is_copy_constructible_v<Handler>);
static_assert(std::is_nothrow_move_constructible_v<Handler>);

TEST_CASE("a handler may be movable only, and returns nothing or an Outcome") {
  Delivery delivery = delivery_of("abc");
  Handler silent = [owned = std::make_unique<std::string>("state")](const Delivery&) { owned->clear(); };
  CHECK_FALSE(silent.takes_delivery());
  CHECK(silent(delivery) == Outcome::ack);
  Handler moved = std::move(silent);
  CHECK(moved(delivery) == Outcome::ack);
  Handler function = dead_letter;
  CHECK(function(delivery) == Outcome::dead_letter);
  Handler erased = std::function<Outcome(const Delivery&)>([](const Delivery&) { return Outcome::retry; });
  CHECK(erased(delivery) == Outcome::retry);
  int calls = 0;
  Handler counts = [&, seen = 0](const Delivery&) mutable { calls = ++seen; };
  counts(delivery);
  counts(delivery);
  CHECK(calls == 2);
  CHECK(delivery.body() == "abc");
}

TEST_CASE("a handler that takes a Delivery or a Delivery&& keeps it without a copy of its body") {
  std::optional<Delivery> kept;
  const auto check = [&](Handler handler) {
    CHECK(handler.takes_delivery());
    kept.reset();
    Delivery delivery = delivery_of(std::string(100, 'b'));
    DeliveryAccess::share_body(delivery);
    const char* at = delivery.body().data();
    Delivery own = delivery;
    handler(own);
    REQUIRE(kept);
    CHECK(kept->body().data() == at);
    CHECK(delivery.body().data() == at);  // for a copy if the handler fails
    DeliveryAccess::drop_body(delivery);
    CHECK(kept->body() == std::string(100, 'b'));
  };
  check([&](Delivery delivery) { kept = std::move(delivery); });
  check([&](Delivery&& delivery) { kept = std::move(delivery); });
  check([&, owned = std::make_unique<int>()](Delivery delivery) mutable {
    kept = std::move(delivery);
    return Outcome::ack;
  });
  check(std::function<void(Delivery)>([&](Delivery delivery) { kept = std::move(delivery); }));
}

TEST_CASE("a handler that takes what a const Delivery& fits, such as auto, does not take the delivery away") {
  CHECK_FALSE(Handler([](const auto&) {}).takes_delivery());
  CHECK_FALSE(Handler([](auto&&) {}).takes_delivery());
  CHECK_FALSE(Handler(dead_letter).takes_delivery());
  Overloaded overloaded;
  Handler by_reference = std::ref(overloaded);
  CHECK_FALSE(by_reference.takes_delivery());
  Delivery delivery = delivery_of("abc");
  by_reference(delivery);
  CHECK(overloaded.called == "const");
}
