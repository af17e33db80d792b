#pragma once

#include <limits>
#include <optional>
#include <string>

#include <warren/error.hpp>
#include <warren/retry_policy.hpp>

#include "messages.hpp"

/// @file
/// Retry policies with odd options, made of a fuzzer's input.
namespace fuzz {

inline std::chrono::milliseconds odd_time(Input& input) {
  return std::chrono::milliseconds(odd_number(input));
}

inline double odd_fraction(Input& input) {
  constexpr double limit = std::numeric_limits<double>::infinity();
  constexpr std::array<double, 9> edges = {0, 0.5, 0.999999999, 1, 2, -0.1, limit, -limit, 1e300};
  const std::size_t choice = input.below(edges.size() + 1);
  return choice < edges.size() ? edges[choice] : std::numeric_limits<double>::quiet_NaN();
}

inline warren::RetryOptions odd_options(Input& input) {
  warren::RetryOptions out;
  const std::uint8_t which = input.byte();
  if ((which & 1U) != 0) out.max_attempts = static_cast<std::uint32_t>(odd_number(input));
  if ((which & 2U) != 0) out.runs_in_place = static_cast<std::uint32_t>(odd_number(input));
  if ((which & 4U) != 0) out.parked_queue = input.text();
  if ((which & 8U) != 0) out.exchange = input.text();
  if ((which & 16U) != 0) out.name = input.text();
  if ((which & 32U) != 0) out.deadline = odd_time(input);
  if ((which & 64U) != 0) out.max_delay = odd_time(input);
  if ((which & 128U) != 0) out.jitter = odd_fraction(input);
  return out;
}

/// Nothing if the options are refused.
inline std::optional<warren::RetryPolicy> odd_policy(Input& input) {
  using warren::RetryPolicy;
  const auto delays = [&] {
    std::vector<std::chrono::milliseconds> out;
    for (std::size_t i = input.below(20); i > 0; --i) out.push_back(odd_time(input));
    return out;
  };
  try {
    switch (input.below(8)) {
      case 0:
        return RetryPolicy::immediate(odd_options(input));
      case 1: {
        const std::string queue(input.text());
        return RetryPolicy::to_queue(queue, odd_options(input));
      }
      case 2: {
        const auto delay = odd_time(input);
        return RetryPolicy::fixed(delay, odd_options(input));
      }
      case 3: {
        const auto step = odd_time(input);
        return RetryPolicy::linear(step, odd_options(input));
      }
      case 4: {
        warren::ExponentialOptions options;
        options.initial = odd_time(input);
        options.max = odd_time(input);
        options.multiplier = odd_fraction(input);
        options.retry.jitter = odd_fraction(input);
        options.retry.max_attempts = static_cast<std::uint32_t>(odd_number(input));
        options.retry.runs_in_place = static_cast<std::uint32_t>(odd_number(input));
        if (input.flag()) options.retry.deadline = odd_time(input);
        return RetryPolicy::exponential(std::move(options));
      }
      case 5: {
        auto all = delays();
        return RetryPolicy::delays(std::move(all), odd_options(input));
      }
      case 6: {
        const auto declared = delays();
        const auto answers = delays();
        return RetryPolicy::custom(
            [&](std::uint32_t attempt) {
              return answers.empty() ? std::chrono::milliseconds(attempt) : answers[attempt % answers.size()];
            },
            declared, odd_options(input));
      }
      default:
        return RetryPolicy::none();
    }
  } catch (const warren::InvalidArgument& error) {
    expect(!error.text().empty(), "a refusal says why");
    return std::nullopt;
  }
}

}  // namespace fuzz
