#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What becomes of the publishes in flight when the connection is lost, and recovered, and when the broker
/// closes the channel over another publish of the same publisher.
enum class OnLoss : std::uint8_t {
  resend,  ///< sent again, until their deadline: they may arrive twice, but are not lost
  fail,    ///< end at once as unknown (ConnectionError or ChannelError, in doubt, not permanent)
};

/// How a publisher publishes.
struct PublisherOptions {
  std::string exchange{};     ///< where messages go unless said otherwise; empty: the default exchange
  std::string routing_key{};  ///< likewise; with the default exchange: the queue's name
  /// What no queue is bound for comes back as ReturnedError. Without it the broker confirms and drops it.
  bool mandatory = true;
  std::size_t window = 256;             ///< messages in flight, from 1
  std::size_t window_bytes = 16 << 20;  ///< bytes in flight, from 1; one larger message is admitted alone
  std::chrono::milliseconds timeout{30'000};  ///< the deadline of a publish, from its call to its confirm
  /// What becomes of those in flight once the connection is lost, or the channel is closed over another
  /// publish.
  OnLoss on_loss = OnLoss::resend;
};

/// What one publish wants otherwise than its publisher. The text must live until the call returns.
struct PublishOptions {
  std::optional<std::string_view> exchange{};          ///< not set: the publisher's
  std::optional<std::string_view> routing_key{};       ///< not set: the publisher's
  std::optional<std::chrono::milliseconds> timeout{};  ///< not set: the publisher's; above 0
};

/// How a publish ended. Exactly one of these, once.
enum class PublishOutcome : std::uint8_t {
  pending,    ///< not yet
  confirmed,  ///< the broker took responsibility (`basic.ack`)
  nacked,     ///< it did not (`basic.nack`), as where a queue with Overflow::reject_publish is full
  returned,   ///< no queue is bound for it (`basic.return`)
  /// The broker closed the channel for this message (404, 403, 406), or closed the connection (501, 541) each
  /// of the two times that nothing else was in flight. It did not take the message.
  refused,
  /// The connection or channel was lost before the confirm, or the deadline passed: in doubt if it was sent.
  unknown,
};

/// The enumerator's name, as `resend`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(OnLoss on_loss) noexcept;

/// The enumerator's name, as `pending`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(PublishOutcome outcome) noexcept;

}  // namespace warren::inline v0
