#include <warren/delivery.hpp>

#include <fmt/format.h>

#include <utility>

#include <warren/error.hpp>

#include "values/test_record.hpp"

namespace warren::inline v0 {
namespace {

const char* operation_of(Settlement settlement) noexcept {
  switch (settlement) {
    case Settlement::ack:
    case Settlement::ack_up_to:
      return "basic.ack";
    case Settlement::nack_requeue:
    case Settlement::nack:
      return "basic.nack";
    case Settlement::reject_requeue:
    case Settlement::reject:
      return "basic.reject";
  }
  return "basic.ack";
}

}  // namespace

void Delivery::TestRecord::settle(Settlement settlement, std::uint64_t delivery_tag) {
  int expected = unsettled;
  if (settlement_.compare_exchange_strong(expected, static_cast<int>(settlement))) return;
  throw InvalidArgument({.operation = operation_of(settlement),
                         .text = fmt::format("delivery {} was settled before", delivery_tag),
                         .permanent = true});
}

std::optional<Settlement> Delivery::TestRecord::settled() const noexcept {
  const int settlement = settlement_.load();
  if (settlement == unsettled) return std::nullopt;
  return static_cast<Settlement>(settlement);
}

void Delivery::TestRecordPtr::share(TestRecord& record) noexcept { record.share(); }
void Delivery::TestRecordPtr::release(TestRecord& record) noexcept {
  if (record.release()) delete &record;
}

Delivery Delivery::for_test(Message message, DeliveryForTest options) {
  Delivery delivery;
  delivery.message_ = std::move(message);
  delivery.exchange_ = std::move(options.exchange);
  delivery.routing_key_ = std::move(options.routing_key);
  delivery.consumer_tag_ = std::move(options.consumer_tag);
  delivery.delivery_tag_ = options.delivery_tag;
  delivery.messages_left_ = options.messages_left;
  delivery.redelivered_ = options.redelivered;
  delivery.test_record_ = TestRecordPtr(new TestRecord);
  return delivery;
}

std::optional<Settlement> Delivery::settled() const noexcept {
  const TestRecord* record = test_record_.get();
  return record == nullptr ? std::nullopt : record->settled();
}

const char* to_string(Settlement settlement) noexcept {
  switch (settlement) {
    case Settlement::ack:
      return "ack";
    case Settlement::ack_up_to:
      return "ack_up_to";
    case Settlement::nack_requeue:
      return "nack_requeue";
    case Settlement::nack:
      return "nack";
    case Settlement::reject_requeue:
      return "reject_requeue";
    case Settlement::reject:
      return "reject";
  }
  return "unknown";
}

}  // namespace warren::inline v0
