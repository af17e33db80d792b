#include "wire/peer_name.hpp"
#include "support/catch.hpp"

using warren::wire::PeerName;

TEST_CASE("a name is verified and sent as it is, without the root's dot", "[tls]") {
  for (const char* host : {"localhost", "broker.example", "127.1", "0x7f000001", "1.2.3.4.5", "x%eth0", ""}) {
    INFO(host);
    const PeerName name(host);
    CHECK(name.text == host);
    CHECK_FALSE(name.is_address);
  }
  CHECK(PeerName("broker.example.").text == "broker.example");
  CHECK_FALSE(PeerName("broker.example.").is_address);
}

TEST_CASE("an address is one, whichever the family, without its scope", "[tls]") {
  for (const char* host : {"127.0.0.1", "::1", "2001:db8::1", "::ffff:127.0.0.1"}) {
    INFO(host);
    const PeerName name(host);
    CHECK(name.text == host);
    CHECK(name.is_address);
  }
  CHECK(PeerName("fe80::1%eth0").text == "fe80::1");
  CHECK(PeerName("fe80::1%eth0").is_address);
}
