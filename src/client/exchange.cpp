#include <warren/exchange.hpp>

#include <utility>

#include "engine/operations.hpp"
#include "values/handle.hpp"

namespace warren::inline v0 {
namespace {

constexpr const char* class_name = "Exchange";

}  // namespace

Exchange::Exchange(std::shared_ptr<engine::Session> session, std::string name)
    : session_(std::move(session)), name_(std::move(name)) {}

void Exchange::bind(std::string_view source, std::string_view routing_key, const FieldTable& arguments) {
  engine::bind(use(session_, class_name, "exchange.bind"),
               {false, name_, std::string(source), std::string(routing_key), arguments});
}

void Exchange::bind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments) {
  (void)use(source.session_, class_name, "exchange.bind");
  bind(source.name(), routing_key, arguments);
}

void Exchange::unbind(std::string_view source, std::string_view routing_key, const FieldTable& arguments) {
  engine::unbind(use(session_, class_name, "exchange.unbind"),
                 {false, name_, std::string(source), std::string(routing_key), arguments});
}

void Exchange::unbind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments) {
  (void)use(source.session_, class_name, "exchange.unbind");
  unbind(source.name(), routing_key, arguments);
}

void Exchange::remove(RemoveExchangeOptions options) {
  engine::delete_exchange(use(session_, class_name, "exchange.delete"), name_, options);
}

}  // namespace warren::inline v0
