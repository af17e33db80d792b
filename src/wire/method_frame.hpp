#pragma once

#include <cstdint>

#include "wire/amqp.hpp"
#include "wire/frame.hpp"

namespace warren::inline v0::wire {

/// Appends a method frame. `decoded` is rabbitmq-c's struct for the method.
/// @throws InvalidArgument  the frame is above 128 KiB, RabbitMQ's default frame_max. After any exception,
/// `out` is unchanged.
void append_method(Bytes& out, std::uint16_t channel, amqp_method_number_t method, void* decoded);

}  // namespace warren::inline v0::wire
