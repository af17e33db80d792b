#include <warren/connection.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/session.hpp"
#include "engine/system.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void refuse(std::string text) {
  throw InvalidArgument({.operation = "connection options", .text = std::move(text), .permanent = true});
}

void check(const RecoveryOptions& options) {
  if (options.initial_delay <= 0ms) refuse("recovery.initial_delay is not above 0: it would spin");
  if (options.early_max_delay <= 0ms) refuse("recovery.early_max_delay is not above 0");
  if (options.max_delay <= 0ms) refuse("recovery.max_delay is not above 0");
  if (options.stable_after < 0ms) refuse("recovery.stable_after is negative");
  if (options.retry_refused_login < 0ms) refuse("recovery.retry_refused_login is negative");
  if (options.max_tries && *options.max_tries == 0)
    refuse("recovery.max_tries is 0: turn recovery off instead");
  if (options.give_up_after && *options.give_up_after <= 0ms) refuse("recovery.give_up_after is not above 0");
}

void check(const ConnectionOptions& options) {
  if (options.heartbeat < 0s || options.heartbeat > 65'535s) refuse("heartbeat is not within 0 to 65535 s");
  if (options.connect_timeout <= 0ms) refuse("connect_timeout is not above 0");
  if (options.operation_timeout <= 0ms) refuse("operation_timeout is not above 0");
  if (options.close_timeout < 0ms) refuse("close_timeout is negative");
  if (options.frame_max < 8'192) refuse("frame_max is below 8192 bytes");
  if (options.frame_max > (1U << 27)) refuse("frame_max is above 128 MiB");
  if (options.outbox_bytes > (std::size_t{1} << 30)) refuse("outbox_bytes is above 1 GiB");
  if (options.first_connect.within && *options.first_connect.within <= 0ms)
    refuse("first_connect.within is not above 0");
  check(options.recovery);
}

// Replaces an option of the connection by the setting in the URIs. All URIs that contain the setting must
// agree. The error text names hosts, never a password.
template <typename T>
void agree(const std::vector<Uri>& uris, std::optional<T> Uri::*setting, const char* name, T& option) {
  const auto said = [&](const Uri& uri) { return (uri.*setting).has_value(); };
  const auto first = std::ranges::find_if(uris, said);
  if (first == uris.end()) return;
  const auto other = std::ranges::find_if(
      uris, [&](const Uri& uri) { return said(uri) && *(uri.*setting) != *((*first).*setting); });
  if (other != uris.end()) {
    refuse(
        fmt::format("the URIs of {}:{} and {}:{} say different things of {}. Give them the same value, or "
                    "none and set it in ConnectionOptions",
                    first->endpoint.host, first->endpoint.effective_port(), other->endpoint.host,
                    other->endpoint.effective_port(), name));
  }
  option = *((*first).*setting);
}

std::vector<std::string_view> views(std::initializer_list<UriText> uris) {
  std::vector<std::string_view> texts;
  for (const UriText& uri : uris) texts.push_back(uri.view());
  return texts;
}

}  // namespace

// The endpoints to connect to, and the options.
struct Connection::Target {
  std::vector<Endpoint> endpoints;
  ConnectionOptions options;

  static Target of(std::span<const std::string_view> texts, ConnectionOptions options) {
    std::vector<Uri> uris;
    for (const std::string_view text : texts) uris.push_back(Uri::parse(text));
    if (uris.empty()) refuse("the list of URIs is empty");
    agree(uris, &Uri::heartbeat, "heartbeat", options.heartbeat);
    agree(uris, &Uri::connection_timeout, "connection_timeout", options.connect_timeout);
    agree(uris, &Uri::channel_max, "channel_max", options.channel_max);
    Target target{.endpoints = {}, .options = std::move(options)};
    for (Uri& uri : uris) target.endpoints.push_back(std::move(uri.endpoint));
    return target;
  }
};

Connection::Connection(Target target) : Connection(std::move(target.endpoints), std::move(target.options)) {}

Connection::Connection(std::string_view uri, ConnectionOptions options)
    : Connection(Target::of({&uri, 1}, std::move(options))) {}

Connection::Connection(const std::vector<std::string>& uris, ConnectionOptions options)
    : Connection(Target::of(std::vector<std::string_view>(uris.begin(), uris.end()), std::move(options))) {}

Connection::Connection(std::initializer_list<UriText> uris, ConnectionOptions options)
    : Connection(Target::of(views(uris), std::move(options))) {}

Connection::Connection(Endpoint endpoint, ConnectionOptions options)
    : Connection(std::vector{std::move(endpoint)}, std::move(options)) {}

Connection::Connection(std::vector<Endpoint> endpoints, ConnectionOptions options) {
  check(options);
  if (endpoints.empty()) refuse("there is no endpoint");
  core_ = engine::make_at_home<engine::ConnectionCore>(std::move(endpoints), std::move(options));
  core_->open();
}

Connection::~Connection() { close(); }
Connection::Connection(Connection&&) noexcept = default;

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
  }
  return *this;
}

Channel Connection::open_channel() {
  engine::ConnectionCore& core = use(core_, "Connection", "channel.open");
  const auto deadline = core.operation_deadline();
  return core.unless_lost(deadline, [&] {
    core.await_open("channel.open", deadline);
    const auto channel = core.open_channel(deadline);
    try {
      return Channel(engine::make_at_home<engine::Session>(core_, channel));
    } catch (...) {
      channel->begin_close();  // the channel would have no owner
      throw;
    }
  });
}

void Connection::close() noexcept {
  if (core_) core_->close(engine::deadline_after(core_->options().close_timeout));
}

ConnectionState Connection::state() const { return use(core_, "Connection", "state").state(); }
std::optional<std::string> Connection::blocked() const {
  return use(core_, "Connection", "blocked").blocked();
}

}  // namespace warren::inline v0
