#pragma once

#include <array>
#include <cstddef>
#include <string_view>

/// @file
/// The headers of a copy. They belong to users too, who filter and alert by them: never rename one. None
/// begins with `x-`: those are the broker's own, and RabbitMQ 4.0 ignores a client's `x-death`.
namespace warren::inline v0::retry::header {

inline constexpr std::string_view id = "retry-id";
inline constexpr std::string_view attempt = "retry-attempt";              // over all queues
inline constexpr std::string_view queue_attempt = "retry-queue-attempt";  // on the queue that it is in
inline constexpr std::string_view first_failure_at = "retry-first-failure-at";
inline constexpr std::string_view last_failure_at = "retry-last-failure-at";
inline constexpr std::string_view due_at = "retry-due-at";  // of a copy that waits: when its delay is over
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
// A message whose handler ends the process: starts that never ended, and who wrote the latest one down.
inline constexpr std::string_view crash_count = "retry-crash-count";
inline constexpr std::string_view started_by = "retry-started-by";
inline constexpr std::string_view original_priority = "retry-original-priority";  // while it is a suspect
inline constexpr std::string_view replay_count = "retry-replay-count";  // written by ParkingLot::replay alone

/// What each copy writes anew.
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

/// What a copy must not carry on: the broker would read it as its own word, or, of CC and BCC, publish it
/// twice. A handler that failed has ended, so what the crash guard wrote is no longer true.
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

/// What a replay takes off: counts and moments begin anew, and reasons are told again where it fails again.
inline constexpr std::array reset_by_replay = {attempt, queue_attempt, first_failure_at, last_failure_at,
                                               reason,  error_type,    error_message,    host,
                                               policy,  due_at};

/// What a copy does without if its headers do not fit one frame, the least needed first. README's table says
/// so too.
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
/// What only a copy that rests does without, in this order: another try needs these.
inline constexpr std::array droppable_at_rest = {started_by,    original_priority, first_failure_at, attempt,
                                                 queue_attempt, replay_count,      crash_count,      id,
                                                 reason,        original_queue};

/// The longest text of a header, in bytes.
inline constexpr std::size_t longest_message = 1'024;
inline constexpr std::size_t longest_text = 255;

}  // namespace warren::inline v0::retry::header
