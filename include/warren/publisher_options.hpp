#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/export.hpp>
#include <warren/version.hpp>

namespace warren::inline v0 {

/// What happens to publishes in flight when the connection is lost, or when the broker closes the channel
/// because of another publish.
enum class OnLoss : std::uint8_t {
  resend,  ///< they are sent again until their deadline; they may arrive twice, but are not lost
  fail,    ///< they end at once with PublishOutcome::unknown (a transient error, in doubt)
};

/// The settings of a Publisher.
struct PublisherOptions {
  std::string exchange{};     ///< the exchange to publish to; empty means the default exchange
  std::string routing_key{};  ///< the routing key; with the default exchange it is the name of the queue
  /// An unroutable message ends with ReturnedError. If false, the broker confirms such a message and drops
  /// it.
  bool mandatory = true;
  std::size_t window = 256;             ///< the most messages in flight, from 1
  std::size_t window_bytes = 16 << 20;  ///< the most bytes in flight, from 1; a larger message is sent alone
  std::chrono::milliseconds timeout{30'000};  ///< the deadline of each publish, from the call to the confirm
  /// What happens to publishes in flight when the connection is lost, or when the broker closes the channel
  /// because of another publish.
  OnLoss on_loss = OnLoss::resend;
};

/// Overrides the publisher's settings for one publish. The strings must live until the call returns.
struct PublishOptions {
  std::optional<std::string_view> exchange{};          ///< not set: PublisherOptions::exchange
  std::optional<std::string_view> routing_key{};       ///< not set: PublisherOptions::routing_key
  std::optional<std::chrono::milliseconds> timeout{};  ///< above 0; not set: PublisherOptions::timeout
};

/// How a publish ended.
enum class PublishOutcome : std::uint8_t {
  pending,    ///< the outcome is not known yet
  confirmed,  ///< the broker took responsibility (`basic.ack`)
  /// The broker refused the message (`basic.nack`), for example because a queue with Overflow::reject_publish
  /// is full.
  nacked,
  returned,  ///< the message is unroutable: no queue is bound for it (`basic.return`)
  /// The broker did not take the message. It closed the channel because of it (403, 404, 406), or it closed
  /// the connection (501, 541) twice while nothing else was in flight.
  refused,
  /// The connection or channel was lost before the confirm, or the deadline passed. The publish is in doubt
  /// if the message was sent.
  unknown,
};

/// The name of the enumerator, for example `resend`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(OnLoss on_loss) noexcept;

/// The name of the enumerator, for example `pending`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(PublishOutcome outcome) noexcept;

}  // namespace warren::inline v0
