#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <warren/delivery.hpp>
#include <warren/field_table.hpp>
#include <warren/message.hpp>
#include <warren/retry_policy.hpp>

#include "retry/failure.hpp"

namespace warren::inline v0::retry {

/// A copy of a message, for its next attempt or for the parked queue.
struct Copy {
  std::string queue{};  ///< the destination, which may be a wait queue; also the routing key
  Message message{};
  bool parked = false;
  Reason reason = Reason::exception;  ///< why the copy was made or parked
  /// The queue where the copy is parked if its headers have no room for what the next attempt needs. Empty
  /// means that it is not parked then.
  std::string park_in{};
  bool suspect = false;  ///< made by the crash guard: its priority says whether a start is recorded
};

/// The exchange and the routing key that a message was published to.
struct Origin {
  std::string exchange{};
  std::string routing_key{};
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// Decides where a failed message goes, and makes its copy.
///
/// The copy is persistent and has the headers of headers.hpp. User id, CC and the message's own expiration
/// are removed, because the broker would act on them again. Everything else stays unchanged.
///
/// Any publisher controls the headers of a message. No header makes this function throw, count backwards or
/// overflow.
/// @param queue  the queue that the delivery was consumed from
/// @param host   this machine's name
/// @throws InvalidArgument  the policy is none(), which makes no copies
[[nodiscard]] Copy make_copy(const RetryPolicy& policy, const std::string& queue, const Delivery& delivery,
                             const Failure& failure, std::chrono::system_clock::time_point now,
                             const std::string& host);

/// Whether the policy runs the handler again in place after this failure.
[[nodiscard]] bool run_again_in_place(const RetryPolicy& policy, const Delivery& delivery,
                                      const Failure& failure,
                                      std::chrono::system_clock::time_point now) noexcept;

/// Removes the least needed of warren's headers (from header::droppable, then header::droppable_at_rest).
/// @param rests  whether the message is parked, so that the headers of header::droppable_at_rest may go, too
/// @returns the name of the header; empty if none is left to remove
std::string_view drop_least_needed(FieldTable& headers, bool rests);

/// Makes a copy smaller if its headers do not fit into one frame.
///
/// Each call removes the least needed of warren's headers. If all that remain are needed for the next
/// attempt, the call changes the copy to a parked one. The application's headers are never changed.
/// @returns what was done, for a log: the name of a header, or "a place to be tried again from"; empty if
///          nothing more can be done
std::string_view shrink(Copy& copy);

/// Restores the priority that a message had before it went to the suspect queue.
void restore_priority(Properties& properties);

/// The headers in their order, without those of header::stripped (the broker's own, and those that it would
/// act on), and without those in `but`.
[[nodiscard]] FieldTable kept_headers(const FieldTable& headers, std::span<const std::string_view> but = {});

/// Replaces the headers of a message, and makes it persistent.
///
/// Expiration and user id are removed. The headers record `expiration`, the user id and `cc`, unless an
/// earlier copy has recorded them already.
void put_headers(Properties& properties, FieldTable headers, std::optional<std::int64_t> expiration,
                 std::optional<FieldArray> cc);

/// The address that the original of a copy was published to, or nothing if these are not a copy's headers.
[[nodiscard]] std::optional<Origin> original_address(const FieldTable& headers);

}  // namespace warren::inline v0::retry
