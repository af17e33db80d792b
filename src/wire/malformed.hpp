#pragma once

#include <stdexcept>

namespace warren::inline v0::wire {

/// The peer sent bytes that are not valid AMQP 0-9-1. The connection is unusable (reply code 501 or 502).
class MalformedFrame : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace warren::inline v0::wire
