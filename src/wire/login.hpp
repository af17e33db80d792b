#pragma once

#include <cstddef>
#include <string>

#include <warren/uri.hpp>

#include "wire/amqp.hpp"

namespace warren::inline v0::wire {

/// What rabbitmq-c sends at most before connection.tune: the size of its buffer.
inline constexpr std::size_t longest_login = 65'536;

/// The size of the frame with the user and the password (connection.start-ok), in bytes.
/// @param properties  the client's, with what rabbitmq-c adds to them
[[nodiscard]] std::size_t login_size(const Endpoint& endpoint, const amqp_table_t& properties);

/// Says what is likely wrong where the login ended with `status`, of which rabbitmq-c has but three words.
/// @param login_bytes  see login_size
/// @throws ConnectionError
[[noreturn]] void fail_login(int status, amqp_connection_state_t connection, const Endpoint& endpoint,
                             std::size_t login_bytes, const std::string& operation);

}  // namespace warren::inline v0::wire
