#include "wire/peer_name.hpp"

#include <arpa/inet.h>

#include <array>
#include <utility>

namespace warren::inline v0::wire {

PeerName::PeerName(std::string host) : text(std::move(host)) {
  std::array<unsigned char, 16> bytes{};
  const std::string unscoped = text.substr(0, text.find('%'));  // fe80::1%eth0
  if (::inet_pton(AF_INET6, unscoped.c_str(), bytes.data()) == 1) {
    text = unscoped;
    is_address = true;
  } else if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) {
    is_address = true;
  } else if (text.ends_with('.')) {
    text.pop_back();
  }
}

}  // namespace warren::inline v0::wire
