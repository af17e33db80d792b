#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <warren/exchange_options.hpp>
#include <warren/export.hpp>
#include <warren/field_table.hpp>

namespace warren::inline v0 {

namespace engine {
class Session;
}

/// An exchange that was declared. Copies stand for the same exchange.
/// Calls on a moved-from Exchange throw LogicError, and its name is empty.
///
/// An Exchange works as long as its connection does. Its calls use the channel that declared it while that is
/// open. If that channel is gone, or was closed by the broker or by the program, they use a channel that the
/// Exchange and its copies open for themselves, and which is closed with the last of them.
///
/// Any thread. Each call blocks until the broker answers, at most ConnectionOptions::operation_timeout. It
/// throws ChannelError if the broker refused (which closes the channel that the call used), ConnectionError
/// if the connection is closed or lost, or TimeoutError.
class WARREN_EXPORT Exchange {
 public:
  /// Its name.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Routes what `source` gets under `routing_key` to this exchange (`exchange.bind`, an extension of
  /// RabbitMQ).
  /// @throws ChannelError  404 where either is missing
  void bind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void bind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Takes a binding away; none of that kind is no error to RabbitMQ.
  void unbind(std::string_view source, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void unbind(const Exchange& source, std::string_view routing_key, const FieldTable& arguments = {});
  /// Deletes the exchange with its bindings (`exchange.delete`).
  /// @throws ChannelError  406 where it is in use and `if_unused` was set
  void remove(RemoveExchangeOptions options = {});

 private:
  friend class Channel;
  Exchange(std::shared_ptr<engine::Session> session, std::string name);
  std::shared_ptr<engine::Session> session_;
  std::string name_;
};

}  // namespace warren::inline v0
