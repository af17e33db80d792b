#pragma once

#include <string>

#include <warren/error.hpp>

#include "wire/amqp.hpp"

namespace warren::inline v0::wire {

/// The one place that turns rabbitmq-c's answers into errors.

/// @throws ConnectionError where `status` is negative
void check_status(int status, const std::string& operation);
/// @throws ConnectionError where the reply is not a normal one; permanent where the broker refused with a
/// code
void check_reply(const amqp_rpc_reply_t& reply, const std::string& operation);
/// @throws ConnectionError with what the broker said
[[noreturn]] void fail_closed(const amqp_connection_close_t& close, const std::string& operation);

}  // namespace warren::inline v0::wire
