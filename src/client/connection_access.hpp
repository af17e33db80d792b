#pragma once

#include <memory>

#include <warren/connection.hpp>

namespace warren::inline v0::engine {

/// Gives the library's own code access to a Connection's core.
class ConnectionAccess {
 public:
  [[nodiscard]] static const std::shared_ptr<ConnectionCore>& core(const Connection& connection) noexcept {
    return connection.core_;
  }
};

}  // namespace warren::inline v0::engine
