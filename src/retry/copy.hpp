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

/// A message on its way to another try, or to its rest.
struct Copy {
  std::string queue{};  ///< where it goes, perhaps one to wait in; also its routing key
  Message message{};
  bool parked = false;
  Reason reason = Reason::exception;  ///< max_attempts or deadline where that is why it is parked
  /// Where it is parked if its headers have no room for what another try needs. Empty: nowhere.
  std::string park_in{};
  bool suspect = false;  ///< a crash guard's: it has the priority of its start, not its own
};

/// Where a message was published to.
struct Origin {
  std::string exchange{};
  std::string routing_key{};
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// Decides where a failed message goes, and makes its copy: kept as it was but for the headers of
/// headers.hpp, persistent, without user id, CC and its own expiration, which would be the broker's to act on
/// again.
///
/// Headers come from anybody who may publish: none makes this throw, count backwards or overflow.
/// @param queue  the one that the delivery was consumed from
/// @param host   this machine's name
/// @throws InvalidArgument  the policy is none(), which makes no copies
[[nodiscard]] Copy make_copy(const RetryPolicy& policy, const std::string& queue, const Delivery& delivery,
                             const Failure& failure, std::chrono::system_clock::time_point now,
                             const std::string& host);

/// Whether the policy has another run in place for a message whose handler failed.
[[nodiscard]] bool run_again_in_place(const RetryPolicy& policy, const Delivery& delivery,
                                      const Failure& failure,
                                      std::chrono::system_clock::time_point now) noexcept;

/// Takes the least needed of our headers off (header::droppable, then header::droppable_at_rest).
/// @returns its name; empty if none of ours is left
std::string_view drop_least_needed(FieldTable& headers, bool rests);

/// Makes a copy smaller whose headers do not fit one frame: without the least needed of our headers, and, if
/// those that remain are needed for another try, parked instead. The application's headers are never touched.
/// @returns what was done, for a log: the name of a header, or "a place to be tried again from"; empty if
///          nothing can be done any more
std::string_view shrink(Copy& copy);

/// Gives a message back the priority that it had before it was a suspect.
void restore_priority(Properties& properties);

/// The headers, in their order, without those that the broker would act on, and without `but`.
[[nodiscard]] FieldTable kept_headers(const FieldTable& headers, std::span<const std::string_view> but = {});

/// Gives a message other headers, which note what a copy must not have: its expiration, its user id, its CC.
/// What they say already was set once, and is not overwritten. Persistent from here on.
void put_headers(Properties& properties, FieldTable headers, std::optional<std::int64_t> expiration,
                 std::optional<FieldArray> cc);

/// Where a copy's original was published to; nothing where the headers are no copy's.
[[nodiscard]] std::optional<Origin> original_address(const FieldTable& headers);

}  // namespace warren::inline v0::retry
