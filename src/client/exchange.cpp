#include <warren/exchange.hpp>

#include <fmt/format.h>

#include <utility>

#include "engine/session.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {

using engine::Bytes;
namespace id = wire::id;
namespace {

constexpr const char* class_name = "Exchange";

}  // namespace

Exchange::Exchange(std::shared_ptr<engine::Session> session, std::string name)
    : session_(std::move(session)), name_(std::move(name)) {}

void Exchange::bind(std::string_view source, std::string_view routing_key, const FieldTable& arguments) {
  engine::Session& session = use(session_, class_name, "exchange.bind");
  session.call(fmt::format("exchange.bind \"{}\" to \"{}\"", name_, source), id::exchange_bind_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::exchange_bind(out, channel, name_, source, routing_key, arguments);
               });
  session.connection().topology().bound(
      {false, name_, std::string(source), std::string(routing_key), arguments});
}

void Exchange::bind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments) {
  (void)use(source.session_, class_name, "exchange.bind");
  bind(source.name(), routing_key, arguments);
}

void Exchange::unbind(std::string_view source, std::string_view routing_key, const FieldTable& arguments) {
  engine::Session& session = use(session_, class_name, "exchange.unbind");
  session.call(fmt::format("exchange.unbind \"{}\" from \"{}\"", name_, source), id::exchange_unbind_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::exchange_unbind(out, channel, name_, source, routing_key, arguments);
               });
  session.connection().topology().unbound(
      {false, name_, std::string(source), std::string(routing_key), arguments});
}

void Exchange::unbind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments) {
  (void)use(source.session_, class_name, "exchange.unbind");
  unbind(source.name(), routing_key, arguments);
}

void Exchange::remove(RemoveExchangeOptions options) {
  engine::Session& session = use(session_, class_name, "exchange.delete");
  session.call(fmt::format("exchange.delete \"{}\"", name_), id::exchange_delete_ok,
               [&](Bytes& out, std::uint16_t channel) {
                 wire::exchange_delete(out, channel, name_, options.if_unused);
               });
  session.connection().topology().exchange_gone(name_);
}

}  // namespace warren::inline v0
