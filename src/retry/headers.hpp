#pragma once

#include <array>
#include <cstddef>
#include <string_view>

/// @file
/// The headers of a copy. Users filter and alert by them, so a header is never renamed. No name begins with
/// `x-`, because such headers are the broker's own. For example, RabbitMQ 4.0 ignores a client's `x-death`.
namespace warren::inline v0::retry::header {

inline constexpr std::string_view id = "retry-id";
inline constexpr std::string_view attempt = "retry-attempt";              // handler runs on all queues
inline constexpr std::string_view queue_attempt = "retry-queue-attempt";  // handler runs on the copy's queue
inline constexpr std::string_view first_failure_at = "retry-first-failure-at";
inline constexpr std::string_view last_failure_at = "retry-last-failure-at";
inline constexpr std::string_view due_at = "retry-due-at";  // when the delay of a waiting copy is over
inline constexpr std::string_view reason = "retry-reason";
inline constexpr std::string_view error_type = "retry-error-type";
inline constexpr std::string_view error_message = "retry-error-message";
inline constexpr std::string_view original_queue = "retry-original-queue";
inline constexpr std::string_view original_exchange = "retry-original-exchange";
inline constexpr std::string_view original_routing_key = "retry-original-routing-key";
inline constexpr std::string_view original_expiration = "retry-original-expiration";
inline constexpr std::string_view original_user_id = "retry-original-user-id";
inline constexpr std::string_view original_cc = "retry-original-cc";
inline constexpr std::string_view host = "retry-host";
inline constexpr std::string_view policy = "retry-policy";
// For the crash guard: the number of starts that never ended, and the consumer that recorded the latest one.
inline constexpr std::string_view crash_count = "retry-crash-count";
inline constexpr std::string_view started_by = "retry-started-by";
inline constexpr std::string_view original_priority = "retry-original-priority";  // in the suspect queue
inline constexpr std::string_view replay_count = "retry-replay-count";  // only ParkingLot::replay writes it

/// The headers that each copy replaces.
inline constexpr std::array written = {id,
                                       attempt,
                                       queue_attempt,
                                       first_failure_at,
                                       last_failure_at,
                                       due_at,
                                       reason,
                                       error_type,
                                       error_message,
                                       original_queue,
                                       original_exchange,
                                       original_routing_key,
                                       original_expiration,
                                       original_user_id,
                                       original_cc,
                                       host,
                                       policy};

/// The headers that a copy must not keep. The broker would trust the `x-` headers, and would route the copy
/// to more queues because of CC and BCC. The crash guard's headers are no longer true, because a handler
/// that failed has ended.
inline constexpr std::array stripped = {std::string_view("x-death"),
                                        std::string_view("x-delivery-count"),
                                        std::string_view("x-acquired-count"),
                                        std::string_view("x-stream-offset"),
                                        std::string_view("CC"),
                                        std::string_view("BCC"),
                                        crash_count,
                                        started_by};
inline constexpr std::array stripped_prefixes = {std::string_view("x-first-death-"),
                                                 std::string_view("x-last-death-")};

/// The headers that a replay removes. Counts and times start again, and the reason is written again if the
/// message fails again.
inline constexpr std::array reset_by_replay = {attempt, queue_attempt, first_failure_at, last_failure_at,
                                               reason,  error_type,    error_message,    host,
                                               policy,  due_at};

/// The headers that may be removed if a copy's headers do not fit into one frame, the least needed first.
/// README has a table of them.
inline constexpr std::array droppable = {policy,
                                         host,
                                         error_type,
                                         error_message,
                                         original_user_id,
                                         original_cc,
                                         original_expiration,
                                         last_failure_at,
                                         due_at,
                                         original_routing_key,
                                         original_exchange};
/// The headers that only a parked copy can do without, in this order. Another attempt needs them.
inline constexpr std::array droppable_at_rest = {started_by,    original_priority, first_failure_at, attempt,
                                                 queue_attempt, replay_count,      crash_count,      id,
                                                 reason,        original_queue};

/// The longest text of a header, in bytes.
inline constexpr std::size_t longest_message = 1'024;
inline constexpr std::size_t longest_text = 255;

}  // namespace warren::inline v0::retry::header
