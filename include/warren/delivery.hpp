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

/// What the broker does with a message that is refused.
enum class Requeue : bool {
  no,  ///< dead-lettered if its queue has a dead-letter exchange, otherwise deleted
  yes  ///< put back into its queue
};
/// The name of the enumerator, for example `yes`, or `unknown` for any other value. Never throws.
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
/// The name of the enumerator, for example `ack`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(Settlement settlement) noexcept;

/// The properties of a delivery that Delivery::for_test makes, without its message.
struct DeliveryForTest {
  std::string exchange{};           ///< the exchange that the message was published to
  std::string routing_key{};        ///< the routing key that the message was published with
  std::string consumer_tag{};       ///< the consumer tag of the subscription
  std::uint64_t delivery_tag = 1;   ///< the number of the delivery on its channel
  bool redelivered = false;         ///< whether the message may have been delivered before
  std::uint32_t messages_left = 0;  ///< the number of messages that Channel::get left in the queue
};

/// A message as the broker delivered it, with the functions to settle it. A value: all copies settle the same
/// delivery.
///
/// A Consumer settles its deliveries automatically, except with AckMode::manual. The caller of Channel::get
/// settles the delivery that it gets. A delivery may outlive its channel, connection and consumer; settling
/// it then throws. Settling a Delivery that was moved from, or made by default, throws LogicError.
///
/// Several threads may read a delivery at the same time. Any thread may settle it.
class WARREN_EXPORT Delivery {
 public:
  Delivery() = default;

  /// Makes a delivery without a broker, to unit-test a handler.
  ///
  /// ack(), ack_up_to(), nack() and reject() send nothing. They record how the delivery was settled, for
  /// settled(). The copies of the delivery share this record. Settling it twice throws InvalidArgument, as
  /// with a delivery from a broker. retry() reads the headers of `message`: an integer `retry-attempt` of 2
  /// makes this the third attempt.
  ///
  /// ```
  /// const auto delivery = warren::Delivery::for_test("{}", {.routing_key = "orders", .redelivered = true});
  /// handle(delivery);
  /// assert(delivery.settled() == warren::Settlement::ack);
  /// ```
  /// @param message  body, properties and headers
  /// @param options  the other properties of the delivery
  [[nodiscard]] static Delivery for_test(Message message, DeliveryForTest options = {});
  /// How a delivery made by for_test() was settled. `nullopt` if it is not settled yet, or if it came from a
  /// broker. Any thread.
  [[nodiscard]] std::optional<Settlement> settled() const noexcept;

  /// The body and the properties. The header `warren-stamp`, which a Publisher adds, is removed.
  [[nodiscard]] const Message& message() const noexcept { return message_; }
  /// The bytes of the body. They are valid while this delivery exists.
  [[nodiscard]] std::string_view body() const noexcept { return message_.body(); }
  /// The bytes of the body. They are valid while this delivery exists.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return message_.bytes(); }
  /// The properties as they were published. The broker may have added headers.
  [[nodiscard]] const Properties& properties() const noexcept { return message_.properties(); }
  /// The headers, including those that the broker added (`x-death`, …).
  [[nodiscard]] const FieldTable& headers() const noexcept { return message_.properties().headers; }
  /// The exchange that the message was published to. If a Consumer with a retry policy gets a copy, this is
  /// the exchange of the original message.
  [[nodiscard]] const std::string& exchange() const noexcept { return exchange_; }
  /// The routing key that the message was published with. If a Consumer with a retry policy gets a copy, this
  /// is the routing key of the original message.
  [[nodiscard]] const std::string& routing_key() const noexcept { return routing_key_; }
  /// The consumer tag of the subscription. Empty for Channel::get.
  [[nodiscard]] const std::string& consumer_tag() const noexcept { return consumer_tag_; }
  /// The number of the delivery on its channel, from 1.
  [[nodiscard]] std::uint64_t delivery_tag() const noexcept { return delivery_tag_; }
  /// Whether the message may have been delivered before (https://www.rabbitmq.com/docs/reliability#consumer).
  [[nodiscard]] bool redelivered() const noexcept { return redelivered_; }
  /// What the headers tell about earlier attempts. For an original message it is attempt 1, and the rest is
  /// empty.
  [[nodiscard]] RetryInfo retry() const;
  /// The number of messages that Channel::get left in the queue. 0 for a delivery of a consumer.
  [[nodiscard]] std::uint32_t messages_left() const noexcept { return messages_left_; }

  /// Acknowledges the message (AMQP `basic.ack`). Does not wait for the broker, which sends no answer. Any
  /// thread.
  /// @throws ChannelError     the channel that delivered the message is closed; the message is redelivered
  /// @throws ConnectionError  the connection of that channel is lost or closed; the message is redelivered
  /// @throws InvalidArgument  the delivery was settled before; nothing is sent
  void ack() const;
  /// Acknowledges this message and all earlier unsettled deliveries of its channel (`basic.ack` with
  /// `multiple`). Any thread.
  /// @throws ChannelError     the channel that delivered the messages is closed; they are redelivered
  /// @throws ConnectionError  the connection of that channel is lost or closed; the messages are redelivered
  /// @throws InvalidArgument  the delivery was settled before; nothing is sent
  void ack_up_to() const;
  /// Refuses the message (AMQP `basic.nack`). Any thread.
  /// @throws ChannelError     the channel that delivered the message is closed; the message is redelivered
  /// @throws ConnectionError  the connection of that channel is lost or closed; the message is redelivered
  /// @throws InvalidArgument  the delivery was settled before, or is from a stream, where a message can't be
  ///                          refused; nothing is sent. Acknowledge a delivery from a stream, or leave it
  ///                          unsettled
  void nack(Requeue requeue) const;
  /// Refuses the message (AMQP `basic.reject`). Any thread.
  ///
  /// From RabbitMQ 4.3 on, reject() counts towards the delivery limit of a quorum queue, and nack() does not
  /// (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
  /// @throws ChannelError     the channel that delivered the message is closed; the message is redelivered
  /// @throws ConnectionError  the connection of that channel is lost or closed; the message is redelivered
  /// @throws InvalidArgument  the delivery was settled before, or is from a stream, where a message can't be
  ///                          refused; nothing is sent. Acknowledge a delivery from a stream, or leave it
  ///                          unsettled
  void reject(Requeue requeue) const;

 private:
  friend class engine::DeliveryAccess;
  class TestRecord;
  // How a delivery made by for_test() was settled. Its copies share the record. Null for deliveries of a
  // broker.
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
  std::uint32_t runs_before_ = 0;  // earlier handler runs in place
  bool redelivered_ = false;
  std::weak_ptr<engine::ChannelCore> channel_;
  TestRecordPtr test_record_;  // set only if there is no channel
};

}  // namespace warren::inline v0
