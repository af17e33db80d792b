#include <warren/delivery.hpp>

#include "retry/headers.hpp"
#include "retry/read.hpp"

namespace warren::inline v0 {

RetryInfo Delivery::retry() const {
  using namespace retry;
  const FieldTable& from = headers();
  const std::int64_t runs = std::int64_t{runs_before_} + 1;
  return {.attempt = add(read_count(from, header::attempt).value_or(0), runs),
          .queue_attempt = add(read_count(from, header::queue_attempt).value_or(0), runs),
          .replays = read_count(from, header::replay_count).value_or(0),
          .id = read_name(from, header::id).value_or(""),
          .first_failure = read_moment(from, header::first_failure_at),
          .last_failure = read_moment(from, header::last_failure_at),
          .due = read_moment(from, header::due_at),
          .reason = read_text(from, header::reason).value_or(""),
          .error_type = read_text(from, header::error_type).value_or(""),
          .error_message = read_text(from, header::error_message, header::longest_message).value_or(""),
          .original_queue = read_name(from, header::original_queue).value_or("")};
}

}  // namespace warren::inline v0
