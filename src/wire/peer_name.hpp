#pragma once

#include <string>

namespace warren::inline v0::wire {

/// The name that a broker's certificate must contain.
struct PeerName {
  /// @param host  the host of an Endpoint: a name (which may be fully qualified) or an address (which may
  /// have a scope)
  explicit PeerName(std::string host);

  std::string text;         ///< without a trailing dot and a scope, which are neither certified nor sent
  bool is_address = false;  ///< IPv4 in dotted form, or IPv6
};

}  // namespace warren::inline v0::wire
