#pragma once

#include <stdexcept>
#include <utility>

namespace support {

/// The error of class E that a call throws. Any other one passes through; none is a logic_error.
template <typename E, typename Call>
E thrown(Call&& call) {
  try {
    (void)std::forward<Call>(call)();
  } catch (const E& error) {
    return error;
  }
  throw std::logic_error("it returned where it must throw");
}

}  // namespace support
