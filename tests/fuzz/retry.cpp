// What headers say that anybody may have written: retries one after the other, the crash guard, parked
// messages, replay. Whatever they say, nothing throws, and what is made of them can be sent.
#include <string>
#include <utility>

#include <warren/consumer.hpp>
#include <warren/parking_lot.hpp>

#include "consumer/crash_guard.hpp"
#include "parking/admission.hpp"
#include "parking/parked.hpp"
#include "policies.hpp"
#include "retry/copy.hpp"
#include "retry/failure.hpp"
#include "retry/headers.hpp"
#include "retry/read.hpp"
#include "retry/text.hpp"
#include "values/utf8.hpp"
#include "wire/broker_text.hpp"
#include "wire/frame.hpp"

namespace {

using namespace warren;
using engine::DeliveryAccess;
using fuzz::expect;
using fuzz::Input;

constexpr std::uint32_t frame_max = 131'072;
const std::chrono::system_clock::time_point now{std::chrono::milliseconds(1'764'000'000'000)};

void check_sendable(const Message& message) {
  wire::Bytes out;
  try {
    wire::append_content(out, 1, "exchange", "key", true, message.properties(), std::nullopt, message.body(),
                         frame_max);
  } catch (const InvalidArgument& error) {
    const bool odd_number = error.text().find("is NaN or infinite") != std::string::npos;
    expect(odd_number, "what was delivered can be sent on");
  }
}

void again(Delivery& delivery, Message message, Input& input) {
  check_sendable(message);
  DeliveryAccess::message(delivery) = std::move(message);
  DeliveryAccess::redelivered(delivery, input.flag());
}

void shrink_all(retry::Copy copy) {
  const std::size_t before = copy.message.properties().headers.size();
  for (std::size_t i = 0; !retry::shrink(copy).empty(); ++i)
    expect(i <= before, "a copy shrinks only so often");
  check_sendable(copy.message);
}

void park(const Delivery& delivery, Input& input) {
  const ParkedMessage parked = parking::read_parked(delivery.message(), {});
  expect(parked.attempts >= 0 && parked.replays >= 0, "counts are not negative");
  expect(parked.queue.size() <= 255 && parked.exchange.size() <= 255 && parked.routing_key.size() <= 255,
         "names are short strings");
  ParkedSelection selection;
  if (input.flag()) selection.reason = input.text();
  if (input.flag()) selection.original_queue = input.text();
  if (input.flag()) selection.failed_before = now;
  if (input.flag()) selection.failed_since = now;
  (void)parking::matches(selection, parked);
  static const engine::Topology topology;
  static const std::string lot = "orders_parked";
  const std::string allowed(input.text());
  const parking::Admission admission(topology, lot, {"orders", allowed});
  if (admission.refusal(parked).empty())
    expect(parked.queue == "orders" || parked.queue == allowed, "a replay goes to queues that are allowed");
  const Message replay = parking::make_replay(parked);
  const std::optional<std::int64_t> replays =
      retry::read_count(replay.properties().headers, retry::header::replay_count);
  expect(replays && *replays >= 1, "a replay is counted");
  expect(!replay.properties().user_id, "a replay has no user id");
  check_sendable(replay);
  Message rested = parking::make_parked_again(parked);
  check_sendable(rested);
  parking::drop_deaths(rested.properties());
  check_sendable(rested);
}

void step(Delivery& delivery, Input& input) {
  static const std::string queue = "orders";
  const consumer::CrashGuard guard(queue, {.limit = input.byte()}, "instance");
  switch (input.below(10)) {
    case 0:
    case 1: {
      const auto policy = fuzz::odd_policy(input);
      if (!policy || policy->shape() == RetryPolicy::Shape::none) return;
      retry::Failure failure{.reason = static_cast<retry::Reason>(input.below(7)),
                             .error_type = std::string(input.text()),
                             .error_message = std::string(input.text()),
                             .runs = 1U + input.byte()};
      if (input.flag()) failure.first_at = retry::to_moment(fuzz::odd_number(input));
      if (input.flag()) failure.delay = std::chrono::milliseconds(fuzz::odd_number(input));
      (void)retry::run_again_in_place(*policy, delivery, failure, now);
      retry::Copy copy = retry::make_copy(*policy, queue, delivery, failure, now, "host");
      const FieldTable& headers = copy.message.properties().headers;
      const auto attempt = retry::read_count(headers, retry::header::attempt);
      expect(attempt && *attempt >= 1, "a copy counts its attempts");
      expect(!copy.message.properties().user_id, "a copy has no user id");
      shrink_all(copy);
      return again(delivery, std::move(copy.message), input);
    }
    case 2:
      return again(delivery, guard.suspect(delivery).message, input);
    case 3:
      (void)guard.step(delivery);
      return again(delivery, guard.record(delivery).message, input);
    case 4:
      return again(delivery, guard.take_back(delivery).message, input);
    case 5:
      consumer::CrashGuard::restore(delivery);
      return again(delivery, guard.clear(delivery).message, input);
    case 6: {
      const retry::Failure crash = consumer::CrashGuard::crash(delivery);
      return again(delivery,
                   retry::make_copy(RetryPolicy::immediate(), queue, delivery, crash, now, "host").message,
                   input);
    }
    case 7:
      return park(delivery, input);
    case 8: {
      const RetryInfo info = delivery.retry();
      expect(info.attempt >= 1 && info.queue_attempt >= 1 && info.replays >= 0, "counts begin at one");
      (void)retry::left_of_delay(delivery.headers(), now);
      (void)retry::original_address(delivery.headers());
      return;
    }
    default: {
      const std::size_t limit = input.byte();
      const std::string_view text = input.text();
      const std::string cut = retry::to_utf8(text, limit);
      expect(cut.size() <= limit && is_utf8(cut), "a header's text is UTF-8 of so many bytes");
      (void)wire::read_inequivalent(text);
    }
  }
}

}  // namespace

void fuzz::fuzz(Input input) {
  Delivery delivery = odd_delivery(input);
  for (int i = 0; i < 20 && !input.empty(); ++i) step(delivery, input);
  park(delivery, input);
}
