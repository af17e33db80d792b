#include <warren/uri.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include <warren/error.hpp>

#include "values/limits.hpp"

namespace warren::inline v0 {
namespace {

constexpr auto npos = std::string_view::npos;

/// Throws the error for a malformed URI. The text never quotes the URI, because any part of a malformed URI
/// may belong to the password. It contains only warren's own words, names and positions.
[[noreturn]] void fail(std::string text) {
  throw InvalidArgument(ErrorDetails{.operation = "parse URI", .text = std::move(text), .permanent = true});
}

[[noreturn]] void fail_at(std::string text, std::size_t offset) {
  fail(std::move(text) + " at position " + std::to_string(offset + 1));
}

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/// A part of the URI with its position.
struct Part {
  std::string_view text{};
  std::size_t offset = 0;

  [[nodiscard]] Part sub(std::size_t from, std::size_t count = npos) const {
    return {text.substr(from, count), offset + from};
  }
};

std::string decode(Part part) {
  std::string out;
  out.reserve(part.text.size());
  for (std::size_t i = 0; i < part.text.size(); ++i) {
    if (part.text[i] != '%') {
      out += part.text[i];
      continue;
    }
    const int high = i + 2 < part.text.size() ? hex_value(part.text[i + 1]) : -1;
    const int low = i + 2 < part.text.size() ? hex_value(part.text[i + 2]) : -1;
    if (high < 0 || low < 0) fail_at("'%' is not followed by two hexadecimal digits", part.offset + i);
    if (high == 0 && low == 0) fail_at("%00 is not allowed", part.offset + i);
    out += static_cast<char>(static_cast<unsigned char>(high * 16 + low));
    i += 2;
  }
  return out;
}

std::string decode_short(Part part, std::string_view what) {
  std::string out = decode(part);
  if (out.size() > max_short_string)
    fail_at("the " + std::string(what) + " has more than 255 bytes, starting", part.offset);
  return out;
}

/// Reads a number of decimal digits, without sign and space. Returns nothing if the text is no number, or if
/// the number is not within the limits.
std::optional<std::uint32_t> number(std::string_view text, std::uint32_t min, std::uint32_t max) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::uint32_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc{} || value < min || value > max) return std::nullopt;
  return value;
}

void parse_userinfo(Part part, Endpoint& endpoint) {
  const auto colon = part.text.find(':');
  endpoint.user = decode(part.sub(0, colon));
  if (colon == npos) return;
  const Part password = part.sub(colon + 1);
  if (const auto second = password.text.find(':'); second != npos)
    fail_at("a second ':' before the '@' (write %3A for one in the password)", password.offset + second);
  endpoint.password = decode(password);
}

void parse_port(Part part, Endpoint& endpoint) {
  const auto port = number(part.text, 1, std::numeric_limits<std::uint16_t>::max());
  if (!port) fail_at("the port is not a number from 1 to 65535", part.offset);
  endpoint.port = static_cast<std::uint16_t>(*port);
}

/// Reads `[address]` or, with a zone (RFC 6874), `[address%25zone]`. The resolver checks the address itself.
std::string ipv6(Part part) {
  const auto zone = part.text.find('%');
  const std::string_view address = part.text.substr(0, zone);
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (hex_value(address[i]) < 0 && address[i] != ':' && address[i] != '.')
      fail_at("a character that is not allowed in an IPv6 address", part.offset + i);
  }
  if (std::count(address.begin(), address.end(), ':') < 2)
    fail_at("the brackets hold no IPv6 address", part.offset);
  if (zone != npos && (part.text.substr(zone, 3) != "%25" || part.text.size() == zone + 3))
    fail_at("an IPv6 zone must be %25 and a name", part.offset + zone);
  return decode(part);
}

void parse_host_port(Part part, Endpoint& endpoint) {
  if (part.text.starts_with('[')) {
    const auto close = part.text.find(']');
    if (close == npos) fail_at("'[' without ']'", part.offset);
    endpoint.host = ipv6(part.sub(1, close - 1));
    const Part rest = part.sub(close + 1);
    if (rest.text.empty()) return;
    if (rest.text.front() != ':') fail_at("neither ':' nor the end of the host after ']'", rest.offset);
    parse_port(rest.sub(1), endpoint);
    return;
  }
  if (const auto bracket = part.text.find_first_of("[]"); bracket != npos)
    fail_at("a bracket within the host", part.offset + bracket);
  const auto colon = part.text.find(':');
  if (colon != npos && part.text.find(':', colon + 1) != npos)
    fail_at("more than one ':' in host and port (an IPv6 address needs brackets)", part.offset + colon);
  if (colon != 0 && !part.text.empty()) endpoint.host = decode(part.sub(0, colon));
  if (colon != npos) parse_port(part.sub(colon + 1), endpoint);
}

void parse_authority(Part part, Endpoint& endpoint) {
  const auto at = part.text.find('@');
  if (at == npos) return parse_host_port(part, endpoint);
  if (const auto second = part.text.find('@', at + 1); second != npos)
    fail_at("a second '@' (write %40 for one in the user or the password)", part.offset + second);
  parse_userinfo(part.sub(0, at), endpoint);
  parse_host_port(part.sub(at + 1), endpoint);
}

/// @param part  the path without its first slash
void parse_vhost(Part part, Endpoint& endpoint) {
  if (const auto slash = part.text.find('/'); slash != npos)
    fail_at("a second '/' in the path (write %2F for one in the virtual host)", part.offset + slash);
  if (!part.text.empty()) endpoint.vhost = decode_short(part, "virtual host");
}

[[noreturn]] void fail_value(std::string_view parameter, std::string_view rule) {
  fail("the parameter " + std::string(parameter) + " must be " + std::string(rule));
}

using Setter = void (*)(Uri& uri, std::string value);

struct Parameter {
  std::string_view name{};
  bool tls = false;
  Setter set = nullptr;
};

std::string not_empty(std::string_view parameter, std::string value) {
  if (value.empty()) fail_value(parameter, "a value that is not empty");
  return value;
}

// Setters that are marked as TLS are called only if uri.endpoint.tls is set.
constexpr std::array<Parameter, 9> parameters{{
    {"heartbeat", false,
     [](Uri& uri, std::string value) {
       const auto seconds = number(value, 0, 65535);
       if (!seconds) fail_value("heartbeat", "a number of seconds from 0 to 65535");
       uri.heartbeat = std::chrono::seconds(*seconds);
     }},
    {"connection_timeout", false,
     [](Uri& uri, std::string value) {
       const auto ms = number(value, 1, std::numeric_limits<std::int32_t>::max());
       if (!ms) fail_value("connection_timeout", "a number of milliseconds from 1 to 2147483647");
       uri.connection_timeout = std::chrono::milliseconds(*ms);
     }},
    {"channel_max", false,
     [](Uri& uri, std::string value) {
       const auto channels = number(value, 0, 65535);
       if (!channels) fail_value("channel_max", "a number from 0 to 65535");
       uri.channel_max = static_cast<std::uint16_t>(*channels);
     }},
    {"auth_mechanism", false,
     [](Uri& uri, std::string value) {
       if (equal_ignoring_case(value, "plain")) {
         uri.endpoint.mechanism = AuthMechanism::plain;
       } else if (equal_ignoring_case(value, "external")) {
         uri.endpoint.mechanism = AuthMechanism::external;
       } else if (equal_ignoring_case(value, "amqplain")) {
         fail_value("auth_mechanism", "plain or external: amqplain is not supported");
       } else {
         fail_value("auth_mechanism", "plain or external");
       }
     }},
    {"cacertfile", true,
     [](Uri& uri, std::string value) {
       uri.endpoint.tls->ca_file = not_empty("cacertfile", std::move(value));
     }},
    {"certfile", true,
     [](Uri& uri, std::string value) {
       uri.endpoint.tls->certificate_file = not_empty("certfile", std::move(value));
     }},
    {"keyfile", true,
     [](Uri& uri, std::string value) {
       uri.endpoint.tls->key_file = not_empty("keyfile", std::move(value));
     }},
    {"verify", true,
     [](Uri& uri, std::string value) {
       if (value != "verify_peer" && value != "verify_none")
         fail_value("verify", "verify_peer or verify_none");
       uri.endpoint.tls->verify_peer = uri.endpoint.tls->verify_host = value == "verify_peer";
     }},
    {"server_name_indication", true,
     [](Uri& uri, std::string value) {
       if (value.empty()) fail_value("server_name_indication", "a name, or disable");
       uri.endpoint.tls->server_name = value == "disable" ? std::string() : std::move(value);
     }},
}};

/// Whether an error may name an unknown parameter. Text before an '@' may be a password with a raw '?' in it.
bool may_be_named(std::string_view name, std::string_view rest) {
  return name.size() <= 64 && rest.find('@') == npos && std::all_of(name.begin(), name.end(), [](char c) {
           return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c == '-' || c == '.';
         });
}

void parse_query(Part query, Uri& uri) {
  if (query.text.empty()) return;
  std::vector<const Parameter*> seen;
  for (std::size_t begin = 0; begin <= query.text.size();) {
    const std::size_t end = std::min(query.text.find('&', begin), query.text.size());
    const Part item = query.sub(begin, end - begin);
    const auto equals = item.text.find('=');
    const std::string name = decode(item.sub(0, equals));
    if (name.empty()) fail_at("a parameter without a name", item.offset);
    const auto found =  // NOLINT(readability-qualified-auto): a pointer only in some libraries
        std::find_if(parameters.begin(), parameters.end(),
                     [&](const Parameter& p) { return p.name == name; });
    if (found == parameters.end()) {
      const bool named = may_be_named(name, query.text.substr(begin));
      fail_at(named ? "unknown parameter " + name : std::string("unknown parameter"), item.offset);
    }
    const Parameter& parameter = *found;
    if (equals == npos) fail_at("no value for the parameter " + name, item.offset);
    if (std::find(seen.begin(), seen.end(), &parameter) != seen.end())
      fail_at("the parameter " + name + " is given twice, again", item.offset);
    if (parameter.tls && !uri.endpoint.tls) fail_at("the parameter " + name + " needs amqps,", item.offset);
    seen.push_back(&parameter);
    parameter.set(uri, decode(item.sub(equals + 1)));
    begin = end + 1;
  }
}

}  // namespace

std::uint16_t Endpoint::effective_port() const noexcept {
  if (port != 0) return port;
  return tls ? std::uint16_t{5671} : std::uint16_t{5672};
}

Uri Uri::parse(std::string_view text) {
  const auto scheme_end = text.find("://");
  if (scheme_end == npos) fail("the URI does not start with amqp:// or amqps://");
  Uri uri;
  const std::string_view scheme = text.substr(0, scheme_end);
  if (equal_ignoring_case(scheme, "amqps")) {
    uri.endpoint.tls.emplace();
  } else if (!equal_ignoring_case(scheme, "amqp")) {
    fail("the URI does not start with amqp:// or amqps://");
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte <= 0x20 || byte == 0x7f) fail_at("a space or control character (percent-encode it)", i);
  }
  if (const auto hash = text.find('#'); hash != npos)
    fail_at("a fragment is not allowed (write %23 for a '#')", hash);

  const Part whole{text, 0};
  const std::size_t query = std::min(text.find('?'), text.size());
  const Part rest = whole.sub(scheme_end + 3, query - (scheme_end + 3));
  const auto slash = rest.text.find('/');
  parse_authority(rest.sub(0, slash), uri.endpoint);
  if (slash != npos) parse_vhost(rest.sub(slash + 1), uri.endpoint);
  if (query < text.size()) parse_query(whole.sub(query + 1), uri);
  return uri;
}

}  // namespace warren::inline v0
