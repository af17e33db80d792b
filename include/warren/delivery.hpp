#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <warren/export.hpp>
#include <warren/message.hpp>
#include <warren/retry_info.hpp>

namespace warren::inline v0 {

namespace engine {
class ChannelCore;
class DeliveryAccess;
}  // namespace engine

/// What becomes of a message that is not acknowledged.
enum class Requeue : bool {
  no,  ///< dead-lettered where its queue has a dead-letter exchange, else deleted by the broker
  yes  ///< back to its queue
};
/// Its name: "no", "yes".
[[nodiscard]] WARREN_EXPORT const char* to_string(Requeue requeue) noexcept;

/// How a program settled a delivery.
enum class Settlement : std::uint8_t {
  ack,             ///< Delivery::ack
  ack_up_to,       ///< Delivery::ack_up_to
  nack_requeue,    ///< Delivery::nack with Requeue::yes
  nack,            ///< Delivery::nack with Requeue::no
  reject_requeue,  ///< Delivery::reject with Requeue::yes
  reject,          ///< Delivery::reject with Requeue::no
};
/// Its name: "ack", "ack_up_to", "nack_requeue", "nack", "reject_requeue", "reject".
[[nodiscard]] WARREN_EXPORT const char* to_string(Settlement settlement) noexcept;

/// What Delivery::for_test says of a delivery beside its message.
struct DeliveryForTest {
  std::string exchange{};           ///< that it was published to
  std::string routing_key{};        ///< that it was published with
  std::string consumer_tag{};       ///< of the subscription
  std::uint64_t delivery_tag = 1;   ///< its number on its channel
  bool redelivered = false;         ///< whether it was, perhaps, delivered before
  std::uint32_t messages_left = 0;  ///< how many messages Channel::get left in the queue
};

/// A message as the broker delivered it, with what is needed to settle it. A value: copies settle the same
/// delivery. It may outlive its channel, connection and consumer; settling it then throws. To
/// settle a Delivery that was moved from, or made by default, throws InvalidArgument.
///
/// A Consumer settles deliveries by itself, unless it is one with AckMode::manual. A delivery of Channel::get
/// is settled by its receiver. Reading is safe from many threads at once; settling from any thread.
class WARREN_EXPORT Delivery {
 public:
  Delivery() = default;

  /// Makes a delivery without a broker, to unit-test a handler.
  ///
  /// ack(), ack_up_to(), nack() and reject() send nothing. They record how the delivery was settled, for
  /// settled(). The copies of the delivery share this record. To settle it twice throws InvalidArgument, as
  /// with a delivery of a broker. retry() reads the headers of `message`: an integer `retry-attempt` of 2
  /// makes it the third attempt.
  ///
  /// ```
  /// const auto delivery = warren::Delivery::for_test("{}", {.routing_key = "orders", .redelivered = true});
  /// handle(delivery);
  /// assert(delivery.settled() == warren::Settlement::ack);
  /// ```
  /// @param message  body, properties and headers
  /// @param options  everything else that a delivery says
  [[nodiscard]] static Delivery for_test(Message message, DeliveryForTest options = {});
  /// How a delivery that for_test() made was settled. `nullopt` if it was not settled yet, or if a broker
  /// delivered it. Any thread.
  [[nodiscard]] std::optional<Settlement> settled() const noexcept;

  /// Body and properties. Of a message that warren published, without its own header `warren-stamp`.
  [[nodiscard]] const Message& message() const noexcept { return message_; }
  /// The body's bytes, valid as long as this delivery.
  [[nodiscard]] std::string_view body() const noexcept { return message_.body(); }
  /// The body's bytes, valid as long as this delivery.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return message_.bytes(); }
  /// As they were published; headers of the broker's may be among them.
  [[nodiscard]] const Properties& properties() const noexcept { return message_.properties(); }
  /// The properties' headers, those of the broker (`x-death`, …) included.
  [[nodiscard]] const FieldTable& headers() const noexcept { return message_.properties().headers; }
  /// The exchange that it was published to. Of a copy that a retry policy made, to a Consumer with one: the
  /// original's.
  [[nodiscard]] const std::string& exchange() const noexcept { return exchange_; }
  /// The routing key that it was published with. Of a copy that a retry policy made, to a Consumer with one:
  /// the original's.
  [[nodiscard]] const std::string& routing_key() const noexcept { return routing_key_; }
  /// The subscription it came by; empty for Channel::get.
  [[nodiscard]] const std::string& consumer_tag() const noexcept { return consumer_tag_; }
  /// Its number on the channel that delivered it, from 1.
  [[nodiscard]] std::uint64_t delivery_tag() const noexcept { return delivery_tag_; }
  /// Whether it was, perhaps, delivered before (https://www.rabbitmq.com/docs/reliability#consumer).
  [[nodiscard]] bool redelivered() const noexcept { return redelivered_; }
  /// What its headers say of the tries before. Of an original: attempt 1, and nothing else.
  [[nodiscard]] RetryInfo retry() const;
  /// Of Channel::get only: how many messages were left in the queue.
  [[nodiscard]] std::uint32_t messages_left() const noexcept { return messages_left_; }

  /// Acknowledges it (AMQP `basic.ack`). Does not wait for the broker, which never answers. Any thread.
  /// @throws ChannelError     the channel that delivered it is gone: the broker delivers it again
  /// @throws ConnectionError  likewise, with its connection
  /// @throws InvalidArgument  it was settled before; nothing is sent
  void ack() const;
  /// Acknowledges it and every earlier unsettled delivery of its channel (`basic.ack` with `multiple`).
  /// Throws as ack().
  void ack_up_to() const;
  /// Refuses it (AMQP `basic.nack`). Throws as ack(). Throws InvalidArgument for a delivery of a stream,
  /// which has no refusal, and sends nothing: acknowledge it, or leave it unsettled.
  void nack(Requeue requeue) const;
  /// Refuses it (AMQP `basic.reject`). Throws as nack(). From RabbitMQ 4.3 on it counts towards a quorum
  /// queue's delivery limit, which nack() does not
  /// (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
  void reject(Requeue requeue) const;

 private:
  friend class engine::DeliveryAccess;
  class TestRecord;
  // How a delivery for tests was settled, shared by its copies. Null in the deliveries of a broker.
  class WARREN_EXPORT TestRecordPtr {
   public:
    TestRecordPtr() noexcept = default;
    explicit TestRecordPtr(TestRecord* record) noexcept : record_(record) {}  // takes over one reference
    TestRecordPtr(const TestRecordPtr& other) noexcept : record_(other.record_) {
      if (record_ != nullptr) [[unlikely]]
        share(*record_);
    }
    TestRecordPtr(TestRecordPtr&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
    TestRecordPtr& operator=(TestRecordPtr other) noexcept {
      std::swap(record_, other.record_);
      return *this;
    }
    ~TestRecordPtr() {
      if (record_ != nullptr) [[unlikely]]
        release(*record_);
    }
    [[nodiscard]] TestRecord* get() const noexcept { return record_; }

   private:
    static void share(TestRecord& record) noexcept;
    static void release(TestRecord& record) noexcept;
    TestRecord* record_ = nullptr;
  };

  Message message_;
  std::string exchange_;
  std::string routing_key_;
  std::string consumer_tag_;
  std::uint64_t delivery_tag_ = 0;
  std::uint32_t messages_left_ = 0;
  std::uint32_t runs_before_ = 0;  // in place
  bool redelivered_ = false;
  std::weak_ptr<engine::ChannelCore> channel_;
  TestRecordPtr test_record_;  // beside no channel
};

}  // namespace warren::inline v0
