// The handshake against bytes of any kind: raw, and frames of the right shape with odd fields. It ends in a
// ConnectionError or is done, and never takes more than its bound.
#include "wire/login.hpp"

#include <string>

#include <warren/error.hpp>

#include "fuzz.hpp"
#include "peer_frames.hpp"

using namespace warren;

void fuzz::fuzz(Input input) {
  Endpoint endpoint;
  if (input.flag()) endpoint.mechanism = AuthMechanism::external;
  if (input.flag()) endpoint.port = input.number<std::uint16_t>();
  if (input.flag()) endpoint.tls.emplace();
  wire::Proposal proposal;
  if (input.flag()) {
    endpoint.user = input.text();
    endpoint.password = input.text();
    endpoint.vhost = input.text();
    proposal.heartbeat = std::chrono::seconds(input.number<std::uint16_t>());
    constexpr std::uint32_t least = 8'192;  // what ConnectionOptions takes
    constexpr std::uint32_t most = 1U << 27;
    proposal.frame_max = least + input.number<std::uint32_t>() % (most - least + 1);
    proposal.channel_max = input.number<std::uint16_t>();
    proposal.client_properties = {{std::string(input.text()), std::string(input.text())}};
  }
  const std::size_t step = 1 + input.byte();  // bytes that come together
  try {
    wire::Login login(endpoint, proposal, "connect to here");
    expect(!login.output().empty(), "a login begins with the protocol header");
    std::string all;
    while (!input.empty() && all.size() < 2 * wire::Login::most_bytes) all += odd_login(input);
    std::string waiting;
    for (std::string_view rest = all; !rest.empty() && !login.done();) {
      const std::string_view part = rest.substr(0, step);
      rest.remove_prefix(part.size());
      waiting += part;
      std::string_view unread = waiting;
      login.receive(unread);
      waiting.erase(0, waiting.size() - unread.size());
      expect(waiting.size() <= wire::Login::most_of_frame + 8, "a login awaits one frame at most");
      expect(!login.awaited().empty() || login.done(), "a login says what it awaits");
    }
    if (login.done()) {
      expect(login.negotiated().frame_max >= 8'192, "frame_max is at least 8192 bytes");
      expect(login.negotiated().channel_max > 0, "there is a channel");
    } else {
      expect(!login.closed_text().empty(), "a login says what is likely wrong");
    }
    for (const FieldEntry& entry : login.server_properties())
      expect(login.server_properties().contains(entry.key), "server-properties are a table");
  } catch (const ConnectionError& error) {
    expect(error.code() != 0 || error.what() != std::string(), "an error says what happened");
    expect(is_safe(error.what()), "an error can be shown in a terminal");
  } catch (const InvalidArgument&) {  // ours: credentials or properties that don't fit a frame
  }
}
