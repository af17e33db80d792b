#pragma once

#include <cstdint>

#include <warren/version.hpp>

/// @file
/// The reply codes of AMQP 0-9-1 and RabbitMQ, as Error::code() gives them
/// (https://www.rabbitmq.com/amqp-0-9-1-reference#constants).

namespace warren::inline v0 {

/// The codes with which a broker closes a channel or a connection, or returns a message.
namespace reply_code {

inline constexpr std::uint16_t success = 200;  ///< an orderly close; warren closes with this code

// The broker returned a message, or refused a single operation.
inline constexpr std::uint16_t content_too_large = 311;  ///< the message is larger than the broker accepts
inline constexpr std::uint16_t no_route = 312;           ///< no queue is bound for the routing key
inline constexpr std::uint16_t no_consumers = 313;       ///< no consumer is ready to take the message

// The broker closed the connection because of its operator, or because of the virtual host.
inline constexpr std::uint16_t connection_forced = 320;  ///< the operator closed it, or the broker shuts down
inline constexpr std::uint16_t invalid_path = 402;       ///< the name of the virtual host is malformed

// The broker closed the channel.
inline constexpr std::uint16_t access_refused =
    403;                                         ///< bad credentials, a missing permission, exclusive use
inline constexpr std::uint16_t not_found = 404;  ///< the queue or the exchange does not exist
inline constexpr std::uint16_t resource_locked = 405;      ///< another connection holds the queue exclusively
inline constexpr std::uint16_t precondition_failed = 406;  ///< other arguments, a bad delivery tag, in use

// The broker closed the connection.
inline constexpr std::uint16_t frame_error = 501;       ///< a frame could not be decoded
inline constexpr std::uint16_t syntax_error = 502;      ///< a field of a frame has an illegal value
inline constexpr std::uint16_t command_invalid = 503;   ///< an invalid sequence, or an unknown exchange type
inline constexpr std::uint16_t channel_error = 504;     ///< a method for a channel that is not open
inline constexpr std::uint16_t unexpected_frame = 505;  ///< a frame that the broker did not expect
inline constexpr std::uint16_t resource_error = 506;    ///< the broker has too few resources
inline constexpr std::uint16_t not_allowed = 530;  ///< the virtual host is refused, or a limit is reached
inline constexpr std::uint16_t not_implemented =
    540;                                              ///< the operation does not exist for this kind of queue
inline constexpr std::uint16_t internal_error = 541;  ///< the broker failed, or denies a deprecated feature

}  // namespace reply_code
}  // namespace warren::inline v0
