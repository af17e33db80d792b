#pragma once

#include <memory>

#include <warren/connection.hpp>

namespace warren::inline v0::engine {

/// What a Connection is made of, for those inside the library that need more than its public calls.
class ConnectionAccess {
 public:
  [[nodiscard]] static const std::shared_ptr<ConnectionCore>& core(const Connection& connection) noexcept {
    return connection.core_;
  }
};

}  // namespace warren::inline v0::engine
