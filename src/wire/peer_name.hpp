#pragma once

#include <string>

namespace warren::inline v0::wire {

/// Whom a broker's certificate must be for.
struct PeerName {
  /// @param host  as in an Endpoint: a name, which may be fully qualified, or an address, which may have a
  /// scope
  explicit PeerName(std::string host);

  std::string text;  ///< without the root's dot and without a scope, neither of which is certified or sent
  bool is_address = false;  ///< IPv4 in dotted form, or IPv6
};

}  // namespace warren::inline v0::wire
